//! Native nftables over netlink, no program needed.
