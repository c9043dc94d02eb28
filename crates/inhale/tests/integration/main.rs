//! The program as whoever runs it sees it: processes, signals, files and sockets.

mod accounting;
mod acknowledged;
mod client;
mod clock;
mod configuration;
mod descriptors;
mod doctor;
mod faults;
mod filesystem;
mod help;
mod http;
mod index_folder;
mod keys;
mod listening;
mod load_runs;
mod loading;
mod mounted;
mod needs;
mod overload;
mod pages;
mod posting;
mod privacy;
mod process;
mod program;
mod proving;
mod reading;
mod signalled;
mod slow_senders;
mod takeover;
#[path = "../../../load/tests/integration/live/tmux.rs"]
mod tmux;
mod upgrade;
mod watching;
