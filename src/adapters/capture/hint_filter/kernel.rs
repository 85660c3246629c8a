//! The bpf(2) calls of the hint filter. This is the only file with unsafe code.
//!
//! Its functions are safe to call: a map's kind fixes the sizes of its keys and values, which are set when it is made, or read from
//! the kernel before it is adopted. No pointer outlives its call.
#![expect(
    unsafe_code,
    reason = "no suitable library wraps bpf(2); other system calls go through rustix"
)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

// linux/bpf.h
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const MAP_UPDATE_BATCH: libc::c_long = 26;
const PROG_TYPE_SOCKET_FILTER: u32 = 1;

/// A map in the kernel.
#[derive(Debug)]
pub(super) struct Map<K> {
    descriptor: OwnedFd,
    length: u32,
    kind: PhantomData<K>,
}

/// What a map is. Keys and values are plain bytes, without padding and without an invalid pattern.
pub(super) trait Kind {
    /// linux/bpf.h
    const TYPE: u32;
    type Key: Copy;
    type Value: Copy + Default;
}

/// An array of 64-bit numbers in this machine's byte order.
#[derive(Debug)]
pub(super) enum Counters {}

/// An array of buckets.
#[derive(Debug)]
pub(super) enum Buckets {}

/// A time for any 16 bytes. If it is full, the least recently used element is replaced.
#[derive(Debug)]
pub(super) enum LruHash {}

impl Kind for Counters {
    const TYPE: u32 = 2;
    type Key = u32;
    type Value = u64;
}

impl Kind for Buckets {
    const TYPE: u32 = 2;
    type Key = u32;
    type Value = Bucket;
}

impl Kind for LruHash {
    const TYPE: u32 = 9;
    type Key = [u8; 16];
    type Value = u64;
}

/// Words of 64 bytes in this machine's byte order: a line of the processor's cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Bucket(pub(super) [u32; 16]);

/// The type of a map, and the sizes of its keys and values.
fn numbers<K: Kind>() -> (u32, u32, u32) {
    let size = |size: usize| u32::try_from(size).unwrap_or(0);
    (
        K::TYPE,
        size(size_of::<K::Key>()),
        size(size_of::<K::Value>()),
    )
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
#[derive(Default)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
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
    max_entries: u32,
}

#[repr(C, align(8))]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
}

impl<K: Kind> Map<K> {
    pub(super) fn new(length: u32) -> io::Result<Self> {
        let (map_type, key_size, value_size) = numbers::<K>();
        let mut attributes = MapCreate {
            map_type,
            key_size,
            value_size,
            max_entries: length,
            map_flags: 0,
        };
        // SAFETY: the attributes contain no pointer.
        let descriptor = unsafe { bpf(MAP_CREATE, &mut attributes) }?;
        Ok(Self {
            descriptor: owned(descriptor)?,
            length,
            kind: PhantomData,
        })
    }

    pub(super) fn adopt(descriptor: OwnedFd) -> io::Result<Self> {
        let mut info = MapInfo::default();
        let info_len = u32::try_from(size_of::<MapInfo>()).unwrap_or(0);
        let mut attributes = ObjInfo {
            bpf_fd: number_of(descriptor.as_fd()),
            info_len,
            info: (&raw mut info) as u64,
        };
        // SAFETY: `info` points to `info_len` bytes that the kernel may write, and outlives the call.
        unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attributes) }?;
        if (info.map_type, info.key_size, info.value_size) == numbers::<K>() {
            Ok(Self {
                descriptor,
                length: info.max_entries,
                kind: PhantomData,
            })
        } else {
            let why = "the descriptor is not a map of the hint filter";
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }

    pub(super) fn insert(&self, key: K::Key, value: K::Value) -> io::Result<()> {
        self.element(MAP_UPDATE_ELEM, key, &mut { value })
    }

    pub(super) fn get(&self, key: K::Key) -> io::Result<K::Value> {
        let mut value = K::Value::default();
        self.element(MAP_LOOKUP_ELEM, key, &mut value)?;
        Ok(value)
    }

    fn element(&self, command: libc::c_long, key: K::Key, value: &mut K::Value) -> io::Result<()> {
        let mut attributes = MapElement {
            map_fd: number_of(self.descriptor()),
            key: (&raw const key) as u64,
            value: (&raw mut *value) as u64,
            ..MapElement::default()
        };
        // SAFETY: the kernel reads the key, and reads or writes the value. Their sizes were checked when the map was made or
        // adopted, and both outlive the call.
        unsafe { bpf(command, &mut attributes) }.map(|_| ())
    }
}

impl Map<Buckets> {
    /// Sets the values from an index on, by one call or, on a kernel without batches, by one for each. Returns the number of calls.
    pub(super) fn set(&self, first: u32, values: &[Bucket]) -> io::Result<usize> {
        let keys = Vec::from_iter((first..self.length).take(values.len()));
        let mut attributes = MapBatch {
            keys: keys.as_ptr() as u64,
            values: values.as_ptr() as u64,
            count: u32::try_from(keys.len()).unwrap_or(0),
            map_fd: number_of(self.descriptor()),
            ..MapBatch::default()
        };
        // SAFETY: the kernel reads `count` keys and values, of which there are as many or more, of the sizes that were checked
        // when the map was made or adopted. It writes to `count` alone. All outlive the call.
        let set = unsafe { bpf(MAP_UPDATE_BATCH, &mut attributes) };
        match set {
            Ok(_) => Ok(1),
            Err(error) if has_no_batches(&error) => {
                for (key, value) in keys.iter().zip(values) {
                    self.insert(*key, *value)?;
                }
                Ok(keys.len())
            }
            Err(error) => Err(error),
        }
    }
}

/// Kernels before 5.6 do not know the command.
fn has_no_batches(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}

/// Loads a socket filter. The kernel verifies it and refuses unsafe instructions.
pub(super) fn load(program: &[u64]) -> io::Result<OwnedFd> {
    let mut attributes = ProgLoad {
        prog_type: PROG_TYPE_SOCKET_FILTER,
        insn_cnt: u32::try_from(program.len()).unwrap_or(u32::MAX),
        insns: program.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
    };
    // SAFETY: `insns` points to `insn_cnt` instructions of eight bytes and `license` to a C string; both outlive the call.
    let descriptor = unsafe { bpf(PROG_LOAD, &mut attributes) }?;
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
unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    let (pointer, size) = (std::ptr::from_mut(attributes), size_of::<T>());
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
