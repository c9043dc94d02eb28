//! Drawing: a pure function of a glance, from a full screen down to whatever fits.

mod compact;
mod parts;
mod plot;
mod roomy;

use ratatui::Frame;
use ratatui::layout::{Margin, Rect};

use super::glance::{Glance, Pressed};
use super::look::Look;

/// Below these the figures are set one below the other.
const ROOMY_COLUMNS: u16 = 76;
const ROOMY_ROWS: u16 = 18;

/// Draws a glance into a frame of any size.
pub fn draw(frame: &mut Frame<'_>, glance: &Glance, pressed: Pressed, look: &Look) {
    let area = frame.area();
    let pressed = pressed.of(glance);
    if area.width >= ROOMY_COLUMNS && area.height >= ROOMY_ROWS {
        roomy::draw(frame, inset(area), glance, pressed, look);
    } else {
        compact::draw(frame, area, glance, pressed, look);
    }
}

/// A column of air on either side.
fn inset(area: Rect) -> Rect {
    area.inner(Margin { horizontal: 1, vertical: 0 })
}
