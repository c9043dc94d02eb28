//! What the view draws, character by character, at several sizes and in several states.
//! `INHALE_BLESS=1 cargo test -p load pictures` stores what it draws now.

use std::fmt::Write as _;
use std::path::Path;

use load::live::{Gatherer, Glance, Look, Pressed, draw};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::synthetic::{Kind, Synthetic};

/// A run after so many ticks of a quarter of a second.
fn glance(kind: Kind, ticks: u64) -> Glance {
    let mut run = Synthetic::new(kind, 60, 1_000.0);
    let mut gatherer = Gatherer::default();
    let mut latest = gatherer.gather(&run.plan, &run.totals, run.at()).expect("the first");
    for _ in 0..ticks {
        run.tick();
        latest = gatherer.gather(&run.plan, &run.totals, run.at()).expect("a tick later");
    }
    latest
}

fn picture(glance: &Glance, pressed: Pressed, look: Look, columns: u16, rows: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("it is memory");
    terminal.draw(|frame| draw::draw(frame, glance, pressed, &look)).expect("it is memory");
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in 0..buffer.area.height {
        let cells = (0..buffer.area.width).map(|column| buffer[(column, row)].symbol());
        writeln!(text, "{}", cells.collect::<String>().trim_end()).expect("a string grows");
    }
    text
}

/// Holds a picture against the stored one.
fn check(name: &str, glance: &Glance, pressed: Pressed, columns: u16, rows: u16) {
    let drawn = text(&picture(glance, pressed, Look::many(), columns, rows));
    let name = format!("{name}-{columns}x{rows}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/snapshots/live")
        .join(format!("{name}.txt"));
    if std::env::var_os("INHALE_BLESS").is_some() {
        std::fs::write(&path, &drawn).expect("the picture can be stored");
    }
    let stored = std::fs::read_to_string(&path).expect("it is stored");
    assert!(stored == drawn, "{name} is drawn as\n{drawn}\nINHALE_BLESS=1 stores it");
}

#[test]
fn pictures_are_as_stored() {
    let start = glance(Kind::Well, 0);
    let well = glance(Kind::Well, 48);
    let failing = glance(Kind::Failing, 48);
    let invalid = glance(Kind::Invalid, 48);
    let aborted = Glance { aborted: true, left: None, asked: None, ..failing.clone() };
    let several = glance(Kind::Several, 48);
    for (name, glance, pressed, columns, rows) in [
        ("start", &start, Pressed::Never, 80, 24),
        ("well", &well, Pressed::Never, 80, 24),
        ("well", &well, Pressed::Never, 120, 40),
        ("well", &well, Pressed::Never, 40, 10),
        ("well", &well, Pressed::Never, 50, 30),
        ("well", &well, Pressed::Never, 20, 4),
        ("stopping", &well, Pressed::Once, 80, 24),
        ("aborted", &aborted, Pressed::Never, 80, 24),
        ("aborted-pressed", &aborted, Pressed::Once, 40, 10),
        ("failing", &failing, Pressed::Never, 80, 24),
        ("failing", &failing, Pressed::Never, 40, 10),
        ("invalid", &invalid, Pressed::Never, 80, 24),
        ("invalid", &invalid, Pressed::Never, 40, 10),
        ("several", &several, Pressed::Never, 80, 24),
        ("several", &several, Pressed::Never, 120, 40),
    ] {
        check(name, glance, pressed, columns, rows);
    }
}

#[test]
fn every_size_can_be_drawn_and_shows_the_rate() {
    for kind in [Kind::Well, Kind::Failing, Kind::Invalid, Kind::Several] {
        let glance = glance(kind, 30);
        for columns in [1, 2, 3, 9, 20, 39, 60, 75, 76, 77, 100, 130] {
            for rows in (1..=26).chain([40, 60]) {
                let drawn = text(&picture(&glance, Pressed::Never, Look::many(), columns, rows));
                assert!(columns < 20 || drawn.contains("/s"), "{kind:?} {columns}x{rows}\n{drawn}");
            }
        }
    }
}

/// Colours and styles that a picture uses.
fn colours(look: Look) -> (Vec<Color>, Vec<Color>, Modifier) {
    let glance = glance(Kind::Failing, 30);
    let buffer = picture(&glance, Pressed::Never, look, 120, 40);
    let (mut front, mut back, mut modifiers) = (Vec::new(), Vec::new(), Modifier::empty());
    for cell in &buffer.content {
        front.push(cell.fg);
        back.push(cell.bg);
        modifiers |= cell.modifier;
    }
    for colours in [&mut front, &mut back] {
        colours.sort_by_key(|colour| format!("{colour:?}"));
        colours.dedup();
    }
    (front, back, modifiers)
}

#[test]
fn no_background_is_set_and_no_colour_where_none_is_wanted() {
    let (front, back, modifiers) = colours(Look::plain());
    assert_eq!((front, back), (vec![Color::Reset], vec![Color::Reset]));
    assert_eq!(modifiers, Modifier::BOLD);
    let (front, back, _) = colours(Look::many());
    assert!(front.len() > 4, "{front:?}");
    assert_eq!(back, [Color::Reset]);
}
