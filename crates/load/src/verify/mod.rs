//! `inhale load verify FILE URL`: asks the server for each id of a receipts file. The file is read in
//! pieces, so that memory does not grow with it; each piece is a load of its own, by as many users as
//! there are to be connections.

mod ask;
mod lines;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use ask::Asker;
use lines::Lines;

use crate::outcome::exit;
use crate::plan::{PlanError, ScenarioOptions};

/// Ids that are asked for at once: some megabytes of text.
const PIECE: usize = 50_000;
/// Missing ids that are listed.
const LISTED: usize = 10;

/// How to ask.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Connections; at least 1.
    pub connections: usize,
    /// How long a server that does not answer, or says that it cannot yet, is asked again.
    pub patience: Duration,
    /// What else requests have: headers, and how TLS is spoken.
    pub request: ScenarioOptions,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self {
            connections: 32,
            patience: Duration::from_secs(30),
            request: ScenarioOptions::default(),
        }
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Ids that were asked for.
    pub asked: u64,
    /// Bytes of the file that hold them.
    pub bytes: u64,
    /// Bytes of the whole file.
    pub bytes_total: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Ids in the file.
    pub acknowledged: u64,
    /// Of those, how many the server gives back.
    pub found: u64,
    /// The first ones that it does not, by their line.
    pub first_lost: BTreeMap<u64, String>,
    /// The line, counted from 1, that was cut off in writing and is therefore not asked for.
    pub torn: Option<u64>,
}

/// Why the question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The file cannot be read.
    #[error("the receipts cannot be read: {0}")]
    File(#[from] io::Error),
    /// A line is no id, and it is not the last.
    #[error("line {0} of the receipts is no id: is this a file that --receipts wrote?")]
    NotAnId(u64),
    /// There is nothing to verify.
    #[error("the receipts hold no id, so there is nothing to verify")]
    Empty,
    /// What was asked for makes no plan, such as a URL that is none.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The server does not answer the question.
    #[error("{url} cannot be asked: {why}")]
    Server {
        /// Where.
        url: String,
        /// In words.
        why: String,
    },
}

impl Verified {
    /// Acknowledged and not there.
    pub fn lost(&self) -> u64 {
        self.acknowledged - self.found
    }

    /// 0, or that of disagreement.
    pub fn exit_code(&self) -> u8 {
        if self.lost() == 0 { exit::PASSED } else { exit::UNRECONCILED }
    }

    /// What to tell, a line each; the last is the answer.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(line) = self.torn {
            lines.push(format!(
                "line {line} was cut off in writing: its id is not whole and was not asked for"
            ));
        }
        lines.extend(self.first_lost.iter().map(|(line, id)| format!("lost: {id} (line {line})")));
        // Some may have got lost between being counted and being listed.
        let unlisted = self.lost().saturating_sub(self.first_lost.len() as u64);
        if unlisted > 0 {
            lines.push(format!("and {unlisted} more"));
        }
        if self.found == 0 {
            lines.push(
                "not one is there: is this the URL that usages went to, and its store?".into(),
            );
        }
        lines.push(format!(
            "{} acknowledged, {} found, {} lost",
            self.acknowledged,
            self.found,
            self.lost()
        ));
        lines
    }
}

/// Asks `url` + `/` + id for each id of `file`.
///
/// # Errors
/// When the file is no receipts file, or the server cannot be asked.
pub fn verify(
    file: &Path,
    url: &str,
    options: &VerifyOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verified, VerifyError> {
    let opened = File::open(file)?;
    let bytes_total = opened.metadata()?.len();
    let mut lines = Lines::new(BufReader::new(opened));
    let asker = Asker { url, options };
    let mut verified = Verified::default();
    loop {
        let piece = next_piece(&mut lines)?;
        if piece.is_empty() {
            break;
        }
        verified.add(&asker, &piece)?;
        progress(Progress { asked: verified.acknowledged, bytes: lines.bytes, bytes_total });
    }
    if verified.acknowledged == 0 {
        return Err(VerifyError::Empty);
    }
    verified.torn = lines.torn;
    Ok(verified)
}

/// An id with its line.
type Receipt = (u64, String);

fn next_piece(lines: &mut Lines<impl BufRead>) -> Result<Vec<Receipt>, VerifyError> {
    let mut piece = Vec::new();
    while piece.len() < PIECE
        && let Some(receipt) = lines.next_id()?
    {
        piece.push(receipt);
    }
    Ok(piece)
}

impl Verified {
    fn add(&mut self, asker: &Asker<'_>, piece: &[Receipt]) -> Result<(), VerifyError> {
        let found = asker.found(piece)?;
        self.acknowledged += piece.len() as u64;
        self.found += found;
        if found < piece.len() as u64 {
            self.list(asker, piece)?;
        }
        Ok(())
    }

    /// Lists what is missing in `piece`, which is known to lack something. Asking tells how many are
    /// missing and not which, so halves are asked for until one id is left.
    fn list(&mut self, asker: &Asker<'_>, piece: &[Receipt]) -> Result<(), VerifyError> {
        if let [(line, id)] = piece {
            self.first_lost.insert(*line, id.clone());
            return Ok(());
        }
        let (first, second) = piece.split_at(piece.len() / 2);
        for half in [first, second] {
            if self.first_lost.len() < LISTED && asker.found(half)? < half.len() as u64 {
                self.list(asker, half)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
