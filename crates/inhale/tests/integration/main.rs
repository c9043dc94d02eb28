//! The program as whoever runs it sees it: processes, signals, files and sockets.

mod acknowledged;
mod client;
mod clock;
mod faults;
mod filesystem;
mod http;
mod index_folder;
mod keys;
mod mounted;
mod needs;
mod posting;
mod process;
mod proving;
mod upgrade;
