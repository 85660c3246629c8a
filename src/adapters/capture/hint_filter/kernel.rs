//! The bpf(2) calls of the hint filter. This is the only file with unsafe code.
//!
//! Its functions are safe to call: the sizes of a map's keys and values are set when it is made, or read from the
//! kernel before it is adopted. No pointer outlives its call.
#![expect(
    unsafe_code,
    reason = "no suitable library wraps bpf(2); other system calls go through rustix"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// linux/bpf.h
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const MAP_DELETE_ELEM: libc::c_long = 3;
const PROG_LOAD: libc::c_long = 5;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const PROG_TYPE_SOCKET_FILTER: u32 = 1;
const VALUE_SIZE: u32 = 8;

/// A map whose values are 64-bit numbers in this machine's byte order.
#[derive(Debug)]
pub(super) struct Map(OwnedFd);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MapKind {
    /// Any eight bytes. An element takes memory only while it exists.
    Hash,
    Array,
    /// Any 16 bytes. If it is full, the least recently used element is replaced.
    LruHash,
}

impl MapKind {
    /// linux/bpf.h: the map's type, the size of its keys, and its flags (`BPF_F_NO_PREALLOC`).
    const fn numbers(self) -> (u32, u32, u32) {
        match self {
            Self::Hash => (1, 8, 1),
            Self::Array => (2, 4, 0),
            Self::LruHash => (9, 16, 0),
        }
    }
}

/// A key. A map reads as many of its bytes as it needs.
pub(super) type Key = [u8; 16];

/// A shorter key, with zeros after it that its map does not read.
pub(super) fn short<const N: usize>(bytes: [u8; N]) -> Key {
    let mut key = Key::default();
    key.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    key
}

// The first members of `union bpf_attr` for each command. The kernel requires zeros after them.
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C, align(8))]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C, align(8))]
struct ObjInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The first members of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    map_type: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
}

#[repr(C, align(8))]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

impl Map {
    pub(super) fn new(kind: MapKind, max_entries: u32) -> io::Result<Self> {
        let (map_type, key_size, map_flags) = kind.numbers();
        let attributes = MapCreate {
            map_type,
            key_size,
            value_size: VALUE_SIZE,
            max_entries,
            map_flags,
        };
        // SAFETY: the attributes contain no pointer.
        let descriptor = unsafe { bpf(MAP_CREATE, &attributes) }?;
        owned(descriptor).map(Self)
    }

    pub(super) fn adopt(descriptor: OwnedFd, kind: MapKind) -> io::Result<Self> {
        let mut info = MapInfo::default();
        let info_len = u32::try_from(size_of::<MapInfo>()).unwrap_or(0);
        let attributes = ObjInfo {
            bpf_fd: number_of(descriptor.as_fd()),
            info_len,
            info: (&raw mut info) as u64,
        };
        // SAFETY: `info` points to `info_len` bytes that the kernel may write, and outlives the call.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &attributes) }?;
        let (map_type, key_size, _) = kind.numbers();
        if (info.map_type, info.key_size, info.value_size) == (map_type, key_size, VALUE_SIZE) {
            Ok(Self(descriptor))
        } else {
            let why = "the descriptor is not a map of the hint filter";
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(super) fn insert(&self, key: Key, mut value: u64) -> io::Result<()> {
        self.element(MAP_UPDATE_ELEM, key, Some(&mut value))
    }

    /// Removes a key. A missing key is no error.
    pub(super) fn remove(&self, key: Key) -> io::Result<()> {
        match self.element(MAP_DELETE_ELEM, key, None) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            done => done,
        }
    }

    pub(super) fn get(&self, key: Key) -> io::Result<Option<u64>> {
        let mut value = 0;
        match self.element(MAP_LOOKUP_ELEM, key, Some(&mut value)) {
            Ok(()) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs a command on one element. A deletion has no value: the kernel requires zeros in its place.
    fn element(&self, command: libc::c_long, key: Key, value: Option<&mut u64>) -> io::Result<()> {
        let attributes = MapElement {
            map_fd: number_of(self.descriptor()),
            key: key.as_ptr() as u64,
            value: value.map_or(0, |value| (&raw mut *value) as u64),
            ..MapElement::default()
        };
        // SAFETY: the kernel reads at most 16 bytes of the key, and reads or writes eight bytes of the value
        // (`numbers`, `VALUE_SIZE`, both checked when a map is made or adopted); both outlive the call.
        unsafe { bpf(command, &attributes) }.map(|_| ())
    }
}

/// Loads a socket filter. The kernel verifies it and refuses unsafe instructions.
pub(super) fn load(program: &[u64]) -> io::Result<OwnedFd> {
    let attributes = ProgLoad {
        prog_type: PROG_TYPE_SOCKET_FILTER,
        insn_cnt: u32::try_from(program.len()).unwrap_or(u32::MAX),
        insns: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
    };
    // SAFETY: `insns` points to `insn_cnt` instructions of eight bytes and `license` to a C string; both outlive the call.
    let descriptor = unsafe { bpf(PROG_LOAD, &attributes) }?;
    owned(descriptor)
}

pub(super) fn attach(socket: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let descriptor = program.as_raw_fd();
    let size = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: the option's value is one int that outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_BPF,
            (&raw const descriptor).cast(),
            size,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// # Safety
/// Pointers in the attributes must be valid for what the command reads and writes through them.
unsafe fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<libc::c_long> {
    let (pointer, size) = (std::ptr::from_ref(attributes), size_of::<T>());
    // SAFETY: the attributes are `size` bytes long, and the caller guarantees that their pointers are valid.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn number_of(descriptor: BorrowedFd<'_>) -> u32 {
    u32::try_from(descriptor.as_raw_fd()).unwrap_or(u32::MAX)
}

fn owned(descriptor: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = libc::c_int::try_from(descriptor).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor to this process alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
