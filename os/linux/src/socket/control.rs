//! [`Control`]: what goes beside the octets of a message (ancillary data, cmsg(3)).
//!
//! A message's control octets are a row of records: a header (`struct cmsghdr`: length with the header, level, type) and data, each
//! beginning at a multiple of eight octets. [`decode`] is the only place that reads them, [`Writer`] the only one that writes them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use kernel::uaccess;

use super::{AF_INET, AF_UNIX, Outcome, flags};
use crate::errno::{EBADF, EFAULT, EINVAL, ENOBUFS, ENOMEM, ESRCH};
use crate::fd::{self, Description};
use crate::process::PID;

const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const SCM_CREDENTIALS: i32 = 2;

/// Octets of `struct cmsghdr`.
const HEADER: usize = 16;
/// Most descriptors of a message.
const SCM_MAX_FD: usize = 253;
/// Most control octets of a message that is sent (`net.core.optmem_max`).
const OPTMEM_MAX: usize = 128 << 10;
/// Most control messages of the internet protocols with one send.
const INTERNET_MAX: usize = 16;
/// Control octets for which no memory is taken: those of some addresses and numbers.
const SMALL: usize = 128;

/// One control message.
#[derive(Clone)]
pub enum Control {
    /// Open file descriptions (`SCM_RIGHTS`, unix(7)): [`SCM_MAX_FD`] at most, one at least.
    Rights(Vec<Arc<Description>>),
    /// Who sends (`SCM_CREDENTIALS`, unix(7)).
    Credentials(Credentials),
    /// Of the internet protocols (ip(7), udp(7)), or about when and how often (socket(7)).
    Internet(Internet),
}

/// A control message whose data is the socket's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Internet {
    /// As of setsockopt(2).
    pub level: i32,
    /// As the option that asks for it.
    pub kind: i32,
    data: [u8; Internet::MAX],
    len: usize,
}

impl Internet {
    /// Octets of the longest data: an error and who sent it.
    const MAX: usize = 32;

    /// `None`: there is no such data.
    pub fn new(level: i32, kind: i32, data: &[u8]) -> Option<Self> {
        let mut octets = [0; Self::MAX];
        octets.get_mut(..data.len())?.copy_from_slice(data);
        Some(Self { level, kind, data: octets, len: data.len() })
    }

    /// Its data.
    pub fn data(&self) -> &[u8] {
        self.data.get(..self.len).unwrap_or_default()
    }
}

/// `struct ucred`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of struct ucred (unix(7))")]
pub struct Credentials {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

impl Credentials {
    /// Those of the one process.
    pub const OWN: Self = Self { pid: PID as i32, uid: 0, gid: 0 };

    /// As the program sees them.
    pub fn octets(&self) -> [u8; 12] {
        let mut octets = [0; 12];
        octets[..4].copy_from_slice(&self.pid.to_le_bytes());
        octets[4..8].copy_from_slice(&self.uid.to_le_bytes());
        octets[8..].copy_from_slice(&self.gid.to_le_bytes());
        octets
    }

    /// The program may name any user and group that there can be, and any process that there is: itself.
    fn parse(data: &[u8]) -> Outcome<Self> {
        let word = |at| {
            let octets = data.get(at..).and_then(|rest| rest.first_chunk()).copied();
            octets.map(u32::from_le_bytes).ok_or(EINVAL)
        };
        let credentials = Self { pid: word(0)? as i32, uid: word(4)?, gid: word(8)? };
        if data.len() != 12 || credentials.uid == u32::MAX || credentials.gid == u32::MAX {
            return Err(EINVAL);
        }
        if credentials.pid as u64 != PID {
            return Err(ESRCH);
        }
        Ok(credentials)
    }
}

/// Reads the control messages that the program sends with a socket of a family.
///
/// # Errors
/// `ENOBUFS`: too many octets; `EFAULT`; and as of [`decode`].
pub(super) fn read(domain: u16, address: u64, len: usize) -> Outcome<Vec<Control>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    if len > OPTMEM_MAX {
        return Err(ENOBUFS);
    }
    let mut small = [0; SMALL];
    if let Some(octets) = small.get_mut(..len) {
        uaccess::read_bytes(address, octets)?;
        return decode(domain, octets);
    }
    let mut octets = Vec::new();
    octets.try_reserve_exact(len).map_err(|_| ENOBUFS)?;
    octets.resize(len, 0);
    uaccess::read_bytes(address, &mut octets)?;
    decode(domain, &octets)
}

/// The control messages in these octets: of each kind one, of whose parts those that were sent last count. What is not of a
/// level that the family knows is left out.
///
/// # Errors
/// `EINVAL`: a record is malformed, or of a type that its level does not have; `EBADF`: a descriptor that is not open; `ESRCH`,
/// `ENOMEM`.
fn decode(domain: u16, octets: &[u8]) -> Outcome<Vec<Control>> {
    let mut all = Vec::new();
    let mut rights = Vec::new();
    let mut credentials = None;
    for record in Records(octets) {
        let Record { level, kind, data } = record?;
        match (level, kind) {
            (SOL_SOCKET, SCM_RIGHTS) if domain == AF_UNIX => take_rights(&mut rights, data)?,
            (SOL_SOCKET, SCM_CREDENTIALS) if domain == AF_UNIX => {
                credentials = Some(Credentials::parse(data)?);
            }
            // Other families pass over what is local sockets'.
            (SOL_SOCKET, SCM_RIGHTS | SCM_CREDENTIALS) => {}
            (SOL_SOCKET, _) => return Err(EINVAL),
            // Those that come last count, and more than a few are none.
            (level, kind) if domain == AF_INET && all.len() < INTERNET_MAX => {
                all.push(Control::Internet(Internet::new(level, kind, data).ok_or(EINVAL)?));
            }
            (..) if domain == AF_INET => return Err(EINVAL),
            _ => {}
        }
    }
    all.extend((!rights.is_empty()).then_some(Control::Rights(rights)));
    all.extend(credentials.map(Control::Credentials));
    Ok(all)
}

/// Adds the descriptions behind descriptors.
fn take_rights(rights: &mut Vec<Arc<Description>>, data: &[u8]) -> Outcome<()> {
    let (descriptors, _) = data.as_chunks();
    if rights.len() + descriptors.len() > SCM_MAX_FD {
        return Err(EINVAL);
    }
    rights.try_reserve(descriptors.len()).map_err(|_| ENOMEM)?;
    for descriptor in descriptors {
        rights.push(fd::get(i32::from_le_bytes(*descriptor)).map_err(|_| EBADF)?);
    }
    Ok(())
}

struct Record<'a> {
    level: i32,
    kind: i32,
    data: &'a [u8],
}

/// The records in control octets; after a malformed one there is none.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Outcome<Record<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let octets = core::mem::take(&mut self.0);
        let header = octets.first_chunk::<HEADER>()?;
        let (len, header) = header.split_first_chunk()?;
        let (level, header) = header.split_first_chunk()?;
        let kind = header.first_chunk()?;
        let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let Some(data) = octets.get(HEADER..len) else { return Some(Err(EINVAL)) };
        self.0 = octets.get(len.next_multiple_of(8)..).unwrap_or_default();
        Some(Ok(Record { level: i32::from_le_bytes(*level), kind: i32::from_le_bytes(*kind), data }))
    }
}

/// Where control messages go that the program receives: what does not fit is cut off or left out, and [`flags::CTRUNC`] says so.
pub(super) struct Writer {
    at: u64,
    left: usize,
    close_on_exec: bool,
    truncated: bool,
}

impl Writer {
    /// To these octets of the program; with `close_on_exec`, descriptors get the flag.
    pub(super) fn new(at: u64, len: usize, close_on_exec: bool) -> Self {
        let len = if at == 0 { 0 } else { len };
        Self { at, left: len, close_on_exec, truncated: false }
    }

    /// Writes one.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(super) fn put(&mut self, control: Control) -> Outcome<()> {
        match control {
            Control::Rights(rights) => {
                self.put_rights(rights);
                Ok(())
            }
            Control::Credentials(credentials) => {
                self.put_data(SOL_SOCKET, SCM_CREDENTIALS, &credentials.octets())
            }
            Control::Internet(message) => self.put_data(message.level, message.kind, message.data()),
        }
    }

    /// [`flags::CTRUNC`], if something did not fit.
    pub(super) fn flags(&self) -> u32 {
        if self.truncated { flags::CTRUNC } else { 0 }
    }

    /// Where the next one would go.
    pub(super) fn end(&self) -> u64 {
        self.at
    }

    fn put_data(&mut self, level: i32, kind: i32, data: &[u8]) -> Outcome<()> {
        let Some(room) = self.left.checked_sub(HEADER) else {
            self.truncated = true;
            return Ok(());
        };
        let fits = data.len().min(room);
        self.truncated |= fits < data.len();
        self.put_header(level, kind, fits)?;
        uaccess::write_bytes(self.data_at()?, &data[..fits])?;
        self.advance(data.len());
        Ok(())
    }

    /// Opens descriptors for as many as fit. As on Linux what cannot be written is not told but as left out.
    fn put_rights(&mut self, rights: Vec<Arc<Description>>) {
        let count = rights.len();
        let room = self.left.saturating_sub(HEADER) / size_of::<i32>();
        let mut done = 0;
        for description in rights.into_iter().take(room) {
            if self.put_descriptor(done, description).is_err() {
                break;
            }
            done += 1;
        }
        self.truncated |= done < count;
        if done > 0 && self.put_header(SOL_SOCKET, SCM_RIGHTS, done * size_of::<i32>()).is_ok() {
            self.advance(done * size_of::<i32>());
        }
    }

    fn put_descriptor(&self, nth: usize, description: Arc<Description>) -> Outcome<()> {
        let number = fd::reserve(0)?;
        let at = self.data_at()?.checked_add((nth * size_of::<i32>()) as u64).ok_or(EFAULT)?;
        uaccess::write(at, number.number())?;
        number.install(description, self.close_on_exec);
        Ok(())
    }

    fn data_at(&self) -> Outcome<u64> {
        self.at.checked_add(HEADER as u64).ok_or(EFAULT)
    }

    fn put_header(&self, level: i32, kind: i32, len: usize) -> Outcome<()> {
        uaccess::write(
            self.at,
            [(HEADER + len) as u64, u64::from(kind as u32) << 32 | u64::from(level as u32)],
        )?;
        Ok(())
    }

    /// Past a record of so many octets of data.
    fn advance(&mut self, len: usize) {
        let whole = (HEADER + len).next_multiple_of(8).min(self.left);
        self.at += whole as u64;
        self.left -= whole;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::AF_INET;

    fn record(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut octets = ((HEADER + data.len()) as u64).to_le_bytes().to_vec();
        octets.extend(level.to_le_bytes());
        octets.extend(kind.to_le_bytes());
        octets.extend(data);
        octets.resize(octets.len().next_multiple_of(8), 0);
        octets
    }

    fn credentials(pid: i32, uid: u32, gid: u32) -> Vec<u8> {
        record(SOL_SOCKET, SCM_CREDENTIALS, &Credentials { pid, uid, gid }.octets())
    }

    fn decoded(domain: u16, octets: &[u8]) -> Outcome<Vec<Credentials>> {
        let found = decode(domain, octets)?.into_iter();
        Ok(found
            .filter_map(|control| if let Control::Credentials(it) = control { Some(it) } else { None })
            .collect())
    }

    #[test]
    fn the_last_of_a_kind_counts() {
        let me = PID as i32;
        let two = [credentials(me, 1, 2), record(77, 1, b"x"), credentials(me, 3, 4)].concat();
        assert_eq!(decoded(AF_UNIX, &two), Ok([Credentials { pid: me, uid: 3, gid: 4 }].into()));
        assert_eq!(decoded(AF_INET, &two), Ok(Vec::new()));
        assert_eq!(decoded(AF_UNIX, &credentials(me + 1, 0, 0)), Err(ESRCH));
        assert_eq!(decoded(AF_UNIX, &credentials(me, u32::MAX, 0)), Err(EINVAL));
    }

    #[test]
    fn malformed_records_are_refused_and_a_short_rest_is_none() {
        let good = credentials(PID as i32, 0, 0);
        assert_eq!(decoded(AF_UNIX, &good[..15]), Ok(Vec::new()));
        assert_eq!(decoded(AF_UNIX, &good[..27]), Err(EINVAL));
        // The padding need not be there.
        assert!(decoded(AF_UNIX, &good[..28]).is_ok_and(|found| found.len() == 1));
        assert!(decoded(AF_UNIX, &[&good[..], &[1; 15]].concat()).is_ok_and(|found| found.len() == 1));
        for len in [0, 15, u64::MAX, u64::MAX - 7, 1 << 63] {
            let mut bad = good.clone();
            bad[..8].copy_from_slice(&len.to_le_bytes());
            assert_eq!(decoded(AF_UNIX, &bad), Err(EINVAL));
        }
        assert_eq!(decoded(AF_UNIX, &record(SOL_SOCKET, SCM_CREDENTIALS, &[0; 16])), Err(EINVAL));
        assert_eq!(decoded(AF_UNIX, &record(SOL_SOCKET, 99, &[])), Err(EINVAL));
        assert_eq!(decoded(AF_INET, &record(SOL_SOCKET, 99, &[])), Err(EINVAL));
    }

    #[test]
    fn descriptors_must_be_open_and_not_too_many() {
        let descriptors = |count| record(SOL_SOCKET, SCM_RIGHTS, &[0xff; 4].repeat(count));
        assert_eq!(decoded(AF_UNIX, &descriptors(1)), Err(EBADF));
        assert_eq!(decoded(AF_UNIX, &descriptors(SCM_MAX_FD + 1)), Err(EINVAL));
        assert_eq!(decoded(AF_UNIX, &descriptors(0)), Ok(Vec::new()));
        assert_eq!(decoded(AF_INET, &descriptors(1)), Ok(Vec::new()));
    }
}
