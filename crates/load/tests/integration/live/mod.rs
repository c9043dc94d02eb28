//! The view of runs that are made up.

mod metrics;
mod pictures;
mod synthetic;
mod terminal;
mod tmux;
