//! What can be known to be wrong before sockets are taken. With `--takeover` it is checked first, so
//! that a start that must fail does not disturb the running server.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use journal::disk::RealDisk;
use usage::limits::BODY_BYTES_MAX;

use crate::flags::ServeFlags;

/// Threads that serve requests at most; more than any machine this was made for has cores.
const CORES_MAX: usize = 1024;

/// Without keys whoever reaches the port can write and read medical records.
pub(crate) fn refuse_strangers(flags: &ServeFlags) -> Result<()> {
    let private = edge::listen::all_loopback(&flags.listen).context("--listen")?
        && edge::listen::all_loopback(&flags.admin_listen).context("--admin-listen")?;
    if !private && !flags.allow_anonymous {
        bail!(
            "--listen or --admin-listen reaches beyond this machine, where anybody could read patients' \
             usages; listen on localhost behind something that checks who asks, or say --allow-anonymous"
        );
    }
    Ok(())
}

/// Refuses settings that contradict each other, and those with which nobody would be served or
/// nothing kept.
pub(crate) fn settings(flags: &ServeFlags, cores: usize, config: &store::Config) -> Result<()> {
    if cores > CORES_MAX {
        bail!("--cores is {cores}; at most {CORES_MAX}");
    }
    let unusable = [
        (flags.listen.is_empty(), "--listen names no address; name one at least"),
        (flags.admin_listen.is_empty(), "--admin-listen names no address; name one at least"),
        (flags.connections_max == 0, "--connections-max is 0, which lets nobody in; at least 1"),
        (
            flags.bodies_max.as_u64() < 2 * BODY_BYTES_MAX as u64,
            "--bodies-max has no room for one body of 1 MiB and its buffers, so each of them would get \
             503; at least 2MiB",
        ),
        (flags.header_timeout.is_zero(), "--header-timeout is 0, in which no head arrives"),
        (flags.body_timeout.is_zero(), "--body-timeout is 0, in which no body arrives"),
        (
            flags.retain.is_some_and(|retain| retain.is_zero()),
            "--retain is 0, so every usage would expire at once; use more, such as 365days, or leave \
             this setting out to keep usages for ever",
        ),
        (
            flags.key_window.is_zero(),
            "--key-window is 0, so every retry would be stored again; use more, such as 30days",
        ),
        (
            flags.stuck_after.is_zero(),
            "--stuck-after is 0, so every disk would count as stuck; use more, such as 2s",
        ),
        (
            flags.commit_timeout.is_zero(),
            "--commit-timeout is 0, so every usage would time out; use more, such as 10s",
        ),
        (flags.idle_timeout.is_zero(), "--idle-timeout is 0, in which no answer is taken"),
    ];
    if let Some((_, why)) = unusable.into_iter().find(|(is_so, _)| *is_so) {
        bail!(why);
    }
    let (api, admin) = (addresses(&flags.listen)?, addresses(&flags.admin_listen)?);
    if let Some(shared) = api.iter().find(|address| address.port() != 0 && admin.contains(address))
    {
        bail!(
            "--listen and --admin-listen are both {shared}; give each a port of its own, such as \
             --admin-listen {}:{}",
            shared.ip(),
            shared.port().checked_add(1).unwrap_or(3001)
        );
    }
    let checked = config.journal.validate().and_then(|()| config.validate());
    checked.map_err(|why| anyhow!("cannot open the store in {}: {why}", flags.data.display()))
}

fn addresses(texts: &[String]) -> Result<Vec<SocketAddr>> {
    let resolved = texts.iter().map(|text| edge::listen::resolve(text));
    Ok(resolved.collect::<Result<Vec<_>, _>>()?.concat())
}

/// The kind of the file system at `path`, if it keeps its files in memory alone.
pub(crate) fn memory_file_system(path: &Path) -> Option<&'static str> {
    // statfs(2) lists these numbers.
    match rustix::fs::statfs(path).ok()?.f_type {
        0x0102_1994 => Some("tmpfs"),
        0x8584_58f6 => Some("ramfs"),
        _ => None,
    }
}

/// Whether this process could use the store that it is about to take over, and is meant to. Nothing is
/// locked or changed: the running server has it.
pub(crate) fn store_to_take_over(flags: &ServeFlags, config: &store::Config) -> Result<()> {
    use rustix::fs::{Access, access};
    let journal = config.journal_dir();
    let unusable = || format!("--takeover: cannot use the journal in {}", journal.display());
    access(&journal, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
        .with_context(unusable)?;
    let disk = RealDisk::open(&journal).with_context(unusable)?;
    let number = journal::examine_beside_writer(&disk).with_context(unusable)?.store_number;
    if number != flags.store_number {
        bail!(
            "--takeover: the store in {} has number {number}, and --store-number says {}; ids are made \
             from it, so say --store-number {number}",
            flags.data.display(),
            flags.store_number
        );
    }
    if !config.index_enabled {
        return Ok(());
    }
    let index = config.index_dir();
    let readable = |error: io::Error| match error.kind() {
        // Made anew from the journal.
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    };
    all_accessible(&index).or_else(readable).with_context(|| {
        format!("--takeover: cannot use the index in {}; correct its permissions", index.display())
    })
}

/// Whether this process may read and write the folder and all in it. What the running server removes
/// meanwhile does not matter.
fn all_accessible(path: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    let is_dir = path.symlink_metadata()?.is_dir();
    let search = if is_dir { Access::EXEC_OK } else { Access::empty() };
    access(path, Access::READ_OK | Access::WRITE_OK | search)?;
    if !is_dir {
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        match all_accessible(&entry?.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}
