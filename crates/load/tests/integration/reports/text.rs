//! The report in text, held against what it printed when it was last looked at.

use load::report::text::{TextOptions, render};

use super::files::check_snapshot;
use super::runs::{self, Run};

fn text(run: &Run, options: &TextOptions) -> String {
    render(&run.plan, &run.totals, &run.outcome, options)
}

#[test]
fn each_state_has_its_report() {
    for run in runs::all() {
        check_snapshot(&format!("{}.txt", run.name), &text(run, &TextOptions::default()));
    }
}

#[test]
fn columns_are_those_that_were_chosen() {
    let columns = "p(99.9),count,avg".parse().expect("columns");
    let text = text(runs::named("passed"), &TextOptions { columns, ..TextOptions::default() });
    let line = text.lines().find(|line| line.contains("http_req_duration.")).expect("the line");
    let figures: Vec<&str> = line.split_whitespace().skip(1).collect();
    assert_eq!(figures, ["p(99.9)=191.49ms", "count=60000", "avg=1.35ms"]);
}

#[test]
fn colours_change_nothing_but_colours() {
    let run = runs::named("failed");
    let plain = text(run, &TextOptions::default());
    assert!(!plain.contains('\u{1b}'));
    let painted = text(run, &TextOptions { colour: true, ..TextOptions::default() });
    let mut pieces = painted.split("\u{1b}[");
    let mut bare = pieces.next().expect("a first piece").to_owned();
    for piece in pieces {
        bare.push_str(piece.split_once('m').expect("a colour ends with m").1);
    }
    let trimmed: Vec<&str> = bare.lines().map(str::trim_end).collect();
    assert!(painted.len() > plain.len() + 500, "it is painted");
    assert_eq!(trimmed, plain.lines().collect::<Vec<_>>());
}

#[test]
fn sentences_break_between_words_of_a_terminal() {
    const COMMAND: &str = "`sudo sysctl -w net.core.somaxconn=65535`";
    let Run { name, plan, totals, mut outcome } = runs::invalid();
    outcome.health.warnings.push(format!("a queue was full; widen it: {COMMAND}, or come slower"));
    let run = &Run { name, plan, totals, outcome };
    let whole = text(run, &TextOptions::default());
    let narrow = text(run, &TextOptions { width: Some(50), ..TextOptions::default() });
    let verdict = |text: &str| text[text.rfind('█').expect("a verdict")..].to_owned();
    let words = |text: &str| -> Vec<String> {
        verdict(text).split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(words(&narrow), words(&whole), "nothing else changes");
    let longest = |text: &str| verdict(text).lines().map(|line| line.chars().count()).max();
    assert!(longest(&whole) > Some(50) && longest(&narrow) <= Some(50), "{narrow}");
    assert!(narrow.lines().any(|line| line.contains(COMMAND)), "{narrow}");
}

#[test]
fn repro_a_report_fits_a_terminal_of_80_columns() {
    // No name is as long as those of the hostile one.
    for run in runs::all().iter().filter(|run| run.name != "hostile") {
        let narrow = text(run, &TextOptions { width: Some(80), ..TextOptions::default() });
        // A command to copy stays on one line.
        let is_too_wide = |line: &&str| line.chars().count() > 80 && !line.contains('`');
        let too_wide = narrow.lines().find(is_too_wide);
        assert_eq!(too_wide, None, "{}: {narrow}", run.name);
    }
    // What is zero throughout, or says once more what stands above, is left out there.
    let run = runs::named("passed");
    let whole = text(run, &TextOptions::default());
    let narrow = text(run, &TextOptions { width: Some(80), ..TextOptions::default() });
    for name in ["http_req_tls_handshaking", "expected_response:true"] {
        assert!(whole.contains(name) && !narrow.contains(name), "{name}: {narrow}");
    }
}

#[test]
fn no_name_moves_the_cursor() {
    let text = text(runs::named("hostile"), &TextOptions::default());
    assert!(text.contains("<script>alert(1)</script>"), "a terminal minds no markup");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text}");
}
