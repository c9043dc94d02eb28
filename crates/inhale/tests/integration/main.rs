//! The program as whoever runs it sees it: processes, signals, files and sockets.

mod client;
mod http;
mod keys;
mod posting;
mod process;
mod upgrade;
