//! What is printed and written of runs that are made up, sample by sample, so that every figure is
//! known.

mod files;
mod html;
mod out;

mod plans;
mod runs;
mod summary;
mod text;
