//! A memory-mapped ring on a packet socket (TPACKET_V3), to compare with what the program uses: see `main.rs`.
#![allow(
    unsafe_code,
    reason = "the kernel writes the memory of a ring; the program itself has none"
)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

const BLOCK: usize = 1 << 18;
const BLOCKS: usize = 32;
const FRAME: u32 = 2048;
/// How long the kernel may keep a block that is not full, milliseconds.
const RETIRE_MS: u32 = 1;

pub(crate) struct Ring {
    socket: OwnedFd,
    memory: *mut u8,
    block: usize,
}

// SAFETY: the memory belongs to this value alone; nothing else in the process points into it.
unsafe impl Send for Ring {}

impl Ring {
    pub(crate) fn new(socket: OwnedFd, interface: &str) -> Self {
        let fd = socket.as_raw_fd();
        set(
            fd,
            libc::PACKET_VERSION,
            &(libc::tpacket_versions::TPACKET_V3 as libc::c_int),
        );
        let request = libc::tpacket_req3 {
            tp_block_size: BLOCK as u32,
            tp_block_nr: BLOCKS as u32,
            tp_frame_size: FRAME,
            tp_frame_nr: (BLOCK * BLOCKS) as u32 / FRAME,
            tp_retire_blk_tov: RETIRE_MS,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(fd, libc::PACKET_RX_RING, &request);
        // SAFETY: a new shared mapping of the whole ring, at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BLOCK * BLOCKS,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        assert!(
            memory != libc::MAP_FAILED,
            "{}",
            std::io::Error::last_os_error()
        );
        let name = std::ffi::CString::new(interface).unwrap();
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            // SAFETY: the name is a C string that outlives the call.
            sll_ifindex: unsafe { libc::if_nametoindex(name.as_ptr()) } as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        // SAFETY: the address outlives the call and is as long as is said.
        let bound = unsafe {
            libc::bind(
                fd,
                (&raw const address).cast(),
                size_of_val(&address) as u32,
            )
        };
        assert_eq!(bound, 0, "{}", std::io::Error::last_os_error());
        Self {
            socket,
            memory: memory.cast(),
            block: 0,
        }
    }

    /// Waits, at most about a second, for the next block, and hands on the UDP payload of each packet in it.
    pub(crate) fn next(&mut self, take: &mut dyn FnMut(&[u8])) {
        // SAFETY: the block lies in the mapping and is aligned to its own size.
        let header = unsafe { self.memory.add(self.block * BLOCK) };
        // SAFETY: the status word of a block stands behind its version and offset, four bytes each.
        let status = unsafe { &*header.add(8).cast::<AtomicU32>() };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            let mut waited = libc::pollfd {
                fd: self.socket.as_raw_fd(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one descriptor is waited for, and the struct outlives the call.
            unsafe { libc::poll(&raw mut waited, 1, 1000) };
            return;
        }
        // SAFETY: as long as the status says so, the block is ours; its head says how many packets there are and where.
        unsafe {
            let block = &*header.cast::<libc::tpacket_block_desc>();
            let (count, first) = (block.hdr.bh1.num_pkts, block.hdr.bh1.offset_to_first_pkt);
            let mut at = header.add(first as usize);
            for _ in 0..count {
                let packet = &*at.cast::<libc::tpacket3_hdr>();
                let ip = std::slice::from_raw_parts(
                    at.add(usize::from(packet.tp_net)),
                    packet.tp_snaplen as usize,
                );
                take(&ip[28..]);
                at = at.add(packet.tp_next_offset as usize);
            }
        }
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.block = (self.block + 1) % BLOCKS;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length and nothing points into it any more.
        unsafe { libc::munmap(self.memory.cast(), BLOCK * BLOCKS) };
    }
}

/// How many packets the socket had no room for.
pub(crate) fn lost(socket: &OwnedFd) -> u64 {
    // The longer form of a ring; the shorter one writes its first two numbers.
    let (mut numbers, mut size) = ([0u32; 3], 12);
    // SAFETY: the kernel writes at most `size` bytes.
    unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut numbers).cast(),
            &raw mut size,
        )
    };
    numbers[1].into()
}

fn set<T>(fd: i32, option: libc::c_int, value: &T) {
    // SAFETY: the option's value outlives the call and is as long as is said.
    let done = unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_PACKET,
            option,
            std::ptr::from_ref(value).cast(),
            size_of::<T>() as u32,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
