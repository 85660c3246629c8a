//! The classic BPF program that the kernel runs on every packet before it costs user space anything.
