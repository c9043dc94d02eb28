//! Every 201 that a load was given is accounted for: by the server's counters while it runs, and by
//! receipts after it was killed.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use load::measure::Totals;
use load::observe::Observer;
use load::outcome::{Ending, Outcome, exit};
use load::plan::{Options, Plan, ScenarioOptions};
use load::receipts::Receipts;
use load::reconcile::MetricsUrl;
use load::run::{RunContext, StopFlag, run};

use crate::http::{BODY, try_call};
use crate::process::{Folder, Server};
use crate::program;

/// What is done while the load goes on, once it has this many answers.
struct Meanwhile<F> {
    answers: u64,
    act: Option<F>,
}

impl<F: FnOnce()> Observer for Meanwhile<F> {
    fn tick(&mut self, _plan: &Plan, totals: &Totals, _at: Duration) {
        if totals.counts(|_| true).answered >= self.answers
            && let Some(act) = self.act.take()
        {
            act();
        }
    }
}

fn usages(address: SocketAddr) -> String {
    format!("http://{address}/api/usages")
}

fn plan(address: SocketAddr, more: ScenarioOptions) -> Arc<Plan> {
    let defaults =
        ScenarioOptions { url: Some(usages(address)), rate: Some("200/s".to_owned()), ..more };
    let options = Options { defaults, graceful_stop: Some("5s".to_owned()), ..Options::default() };
    Arc::new(options.build().expect("it is in order"))
}

fn context(server: &Server, receipts: Option<Receipts>) -> RunContext {
    RunContext {
        metrics: MetricsUrl::At(format!("http://{}/metrics", server.admin)),
        receipts: receipts.map(Arc::new),
        ..RunContext::default()
    }
}

/// Runs the load with `act` in the middle of it.
fn run_with(
    plan: &Arc<Plan>,
    context: &RunContext,
    stop: &StopFlag,
    act: impl FnOnce(),
) -> (Totals, Outcome) {
    let mut meanwhile = Meanwhile { answers: 50, act: Some(act) };
    let ran = run(plan, context, &mut [&mut meanwhile], stop).expect("it starts");
    assert!(meanwhile.act.is_none(), "nothing was done meanwhile");
    ran
}

#[test]
fn the_servers_counters_agree() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    for (batch, usages) in [(None, 300), (Some("7".to_owned()), 2_100)] {
        let duration = Some("1500ms".to_owned());
        let plan = plan(server.address, ScenarioOptions { duration, batch, ..Default::default() });
        let (_, outcome) = run_with(&plan, &context(&server, None), &StopFlag::new(), || {});
        let found = outcome.reconciliation.expect("it was asked for");
        assert!(found.agrees, "{found:?}");
        assert_eq!((found.acknowledged, found.counted, found.unknown), (usages, Some(usages), 0));
    }
    server.stop();
}

/// The control: a usage that is not the load's.
#[test]
fn another_client_is_noticed() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let duration = Some("1s".to_owned());
    let plan = plan(server.address, ScenarioOptions { duration, ..Default::default() });
    let (_, outcome) = run_with(&plan, &context(&server, None), &StopFlag::new(), || {
        let json = "Content-Type: application/json\r\n";
        let answer = try_call(server.address, "POST", "/api/usages", json, BODY.as_bytes());
        answer.expect("it answers").expect(201);
    });
    let found = outcome.reconciliation.as_ref().expect("it was asked for");
    assert!(!found.agrees && found.words.contains("1 more"), "{found:?}");
    assert_eq!((found.acknowledged, found.counted), (200, Some(201)), "{found:?}");
    assert_eq!(outcome.exit_code(), exit::UNRECONCILED);
    server.stop();
}

/// A load whose server is killed in the middle of it. Its receipts, and how many usages were
/// acknowledged.
fn killed_under_load(folder: &Folder) -> (tempfile::TempDir, u64) {
    let server = folder.serve(&[]);
    let notes = tempfile::tempdir().expect("a folder can be made");
    let receipts = Receipts::create(&notes.path().join("ids")).expect("it is new");
    let duration = Some("60s".to_owned());
    let plan = plan(server.address, ScenarioOptions { duration, ..Default::default() });
    let context = context(&server, Some(receipts));
    let stop = StopFlag::new();
    let (totals, outcome) = run_with(&plan, &context, &stop, || {
        server.kill();
        stop.press();
    });
    assert_eq!(outcome.ending, Ending::Interrupted);
    let found = outcome.reconciliation.expect("it was asked for");
    assert!(!found.agrees, "counters that are gone agree with nothing: {found:?}");
    let counts = totals.counts(|_| true);
    let acknowledged = counts.statuses().find(|(status, _)| *status == 201);
    (notes, acknowledged.expect("some were acknowledged").1)
}

/// What `inhale load verify` says of the receipts: its exit code and its lines.
fn verify(notes: &tempfile::TempDir, server: &Server) -> (Option<i32>, Vec<String>) {
    let file = notes.path().join("ids");
    let words = ["load", "verify", file.to_str().expect("it is text"), &usages(server.address)];
    let output = program::run(&words, &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    (output.status.code(), said.lines().map(str::to_owned).collect())
}

#[test]
fn repro_batches_of_a_thousand_leave_a_receipt_for_each_usage() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let notes = tempfile::tempdir().expect("a folder can be made");
    let file = notes.path().join("ids");
    let file = file.to_str().expect("it is text");
    let words = [
        "load",
        &usages(server.address),
        "-u",
        "1",
        "-i",
        "3",
        "--batch",
        "1000",
        "--receipts",
        file,
    ];
    let output = program::run(&words, &[]);
    assert_eq!(output.status.code(), Some(exit::PASSED.into()), "{output:?}");
    let all = "3000 acknowledged, 3000 found, 0 lost".to_owned();
    assert_eq!(verify(&notes, &server), (Some(exit::PASSED.into()), vec![all]));
    server.stop();
}

#[test]
fn receipts_are_found_after_a_crash_and_what_was_never_sent_is_not() {
    let folder = Folder::new();
    let (notes, acknowledged) = killed_under_load(&folder);
    let server = folder.serve(&[]);
    let all = format!("{acknowledged} acknowledged, {acknowledged} found, 0 lost");
    assert_eq!(verify(&notes, &server), (Some(exit::PASSED.into()), vec![all]));

    // The control: an id that nobody acknowledged. What the writer was cut off in does not count.
    let made_up = "0193591e-0000-7000-8000-000000000000";
    let mut ids =
        std::fs::File::options().append(true).open(notes.path().join("ids")).expect("it is there");
    write!(ids, "{made_up}\n0193591e-00").expect("it has room");
    let line = acknowledged + 1;
    let lines = vec![
        format!(
            "line {} was cut off in writing: its id is not whole and was not asked for",
            line + 1
        ),
        format!("lost: {made_up} (line {line})"),
        format!("{line} acknowledged, {acknowledged} found, 1 lost"),
    ];
    assert_eq!(verify(&notes, &server), (Some(exit::UNRECONCILED.into()), lines));
    server.stop();
}

#[test]
fn a_server_that_cannot_be_asked_has_lost_nothing() {
    let notes = tempfile::tempdir().expect("a folder can be made");
    let file = notes.path().join("ids");
    std::fs::write(&file, "0193591e-0000-7000-8000-000000000000\n").expect("it has room");
    let file = file.to_str().expect("it is text");
    let output = program::run(
        &["load", "verify", "--patience", "0s", file, "http://127.0.0.1:1/api/usages"],
        &[],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit::CONFIGURATION.into()), "{output:?}");
    assert!(said.contains("cannot be asked: connection refused"), "{said}");
}
