//! The view of a run that is made up: `live_view [well|failing|invalid|several|panic] [SECONDS]`.

use std::sync::Arc;
use std::time::Duration;

use load::clock;
use load::limits::TICK;
use load::live::{Display, Look, ProgressLine, View, display_for};
use load::observe::Observer;
use load::run::StopFlag;

#[path = "../tests/integration/live/synthetic.rs"]
mod synthetic;
use synthetic::{Kind, Synthetic};

#[expect(clippy::print_stdout, reason = "it is a program")]
fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let kind = words.next().unwrap_or_default();
    let panics = kind == "panic";
    let kind = match kind.as_str() {
        "failing" => Kind::Failing,
        "invalid" => Kind::Invalid,
        "several" => Kind::Several,
        _ => Kind::Well,
    };
    let seconds = words.next().and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut run = Synthetic::new(kind, seconds, 16_666.7);
    let stop = Arc::new(StopFlag::new());

    let variable = |name| std::env::var(name).ok();
    let [no_color, term, colorterm] = ["NO_COLOR", "TERM", "COLORTERM"].map(variable);
    let mut shown: Option<Box<dyn Observer>> = match display_for(false, term.as_deref()) {
        Display::View => {
            let look =
                Look::of_terminal(no_color.as_deref(), term.as_deref(), colorterm.as_deref());
            Some(Box::new(View::start(look, Arc::clone(&stop))?))
        }
        Display::LineOnTerminal => Some(Box::new(ProgressLine::new(std::io::stderr(), true))),
        Display::Lines => Some(Box::new(ProgressLine::new(std::io::stderr(), false))),
        Display::Nothing => None,
    };
    let end = run.plan.duration();
    let start_ns = clock::now_ns();
    // After the first press what is in flight takes two more seconds.
    let mut stopping = None;
    while run.at() < end {
        let at = Duration::from_nanos(clock::now_ns() - start_ns);
        if at >= run.at() + TICK {
            run.tick();
            if let Some(shown) = &mut shown {
                shown.tick(&run.plan, &run.totals, at);
            }
        }
        assert!(!panics || run.at() < TICK * 4, "a panic as an example");
        match stop.presses() {
            0 => {}
            1 if at < *stopping.get_or_insert(at) + Duration::from_secs(2) => {}
            _ => break,
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    drop(shown);
    println!("ended at {:.1} s after {} presses", run.at().as_secs_f64(), stop.presses());
    Ok(())
}
