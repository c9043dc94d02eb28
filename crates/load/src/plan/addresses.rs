//! Where connections come from, as people write it: `127.0.0.2`, `127.0.0.2-127.0.0.9`,
//! `127.0.1.0/24`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::LOCAL_ADDRESSES_MAX;

/// The addresses that `text` stands for, parts between commas.
///
/// # Errors
/// In words.
pub(super) fn parse(text: &str) -> Result<Vec<IpAddr>, String> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = bounds(part)?;
        let room = LOCAL_ADDRESSES_MAX - all.len();
        let count = (last - first).saturating_add(1);
        if count > room as u128 {
            return Err(format!("`{text}` are more than {LOCAL_ADDRESSES_MAX} addresses"));
        }
        let is_v4 = matches!(part.split(['-', '/']).next(), Some(start) if !start.contains(':'));
        all.extend((first..=last).map(|number| address(number, is_v4)));
    }
    Ok(all)
}

/// The first and the last of a part, as numbers.
fn bounds(part: &str) -> Result<(u128, u128), String> {
    let wrong =
        || format!("`{part}` is no address, range (127.0.0.2-127.0.0.9) or network (127.0.1.0/24)");
    let ip = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| wrong());
    if let Some((first, last)) = part.split_once('-') {
        let (first, last) = (ip(first)?, ip(last)?);
        let in_order = first.is_ipv4() == last.is_ipv4() && first <= last;
        return if in_order { Ok((number(first), number(last))) } else { Err(wrong()) };
    }
    let Some((base, prefix)) = part.split_once('/') else {
        let one = number(ip(part)?);
        return Ok((one, one));
    };
    let base = ip(base)?;
    let bits = if base.is_ipv4() { 32 } else { 128 };
    let prefix: u32 = prefix.trim().parse().ok().filter(|p| *p <= bits).ok_or_else(wrong)?;
    let host_mask = 1u128.checked_shl(bits - prefix).map_or(u128::MAX, |size| size - 1);
    let (first, last) = (number(base) & !host_mask, number(base) | host_mask);
    // A network's first and last address are those of the network and of everyone in it.
    let hosts_only = base.is_ipv4() && prefix <= 30;
    Ok(if hosts_only { (first + 1, last - 1) } else { (first, last) })
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn address(number: u128, is_v4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if is_v4 => IpAddr::V4(Ipv4Addr::from(number)),
        _ => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_read() {
        let check = |text: &str, first: &str, last: &str, count: usize| {
            let found = parse(text).expect(text);
            let ends = (found[0].to_string(), found[found.len() - 1].to_string());
            assert_eq!((ends, found.len()), ((first.to_owned(), last.to_owned()), count), "{text}");
        };
        check("127.0.0.2", "127.0.0.2", "127.0.0.2", 1);
        check("127.0.0.2-127.0.0.9", "127.0.0.2", "127.0.0.9", 8);
        check("127.0.0.250 - 127.0.1.5", "127.0.0.250", "127.0.1.5", 12);
        check("127.0.1.7/24", "127.0.1.1", "127.0.1.254", 254);
        check("10.0.0.4/31", "10.0.0.4", "10.0.0.5", 2);
        check("10.0.0.4/32", "10.0.0.4", "10.0.0.4", 1);
        check("::1", "::1", "::1", 1);
        check("fd00::4/126", "fd00::4", "fd00::7", 4);
        check("127.0.0.2, 127.0.0.4-127.0.0.5", "127.0.0.2", "127.0.0.5", 3);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        for text in ["", "localhost", "127.0.0.9-127.0.0.2", "::1-127.0.0.1", "127.0.0.1/33", "a/8"]
        {
            check(text, "is no address");
        }
        check("10.0.0.0/8", "more than 65536");
        check("::/0", "more than 65536");
        check("10.0.0.0/16,10.1.0.0/24", "more than 65536");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[0-9a-f.:/,-]{0,30}") {
            let _ = parse(&text);
        }
    }
}
