//! The program as whoever runs it sees it: processes, signals, files and sockets.

mod client;
mod process;
mod upgrade;
