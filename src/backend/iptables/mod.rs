//! iptables and ip6tables through their restore programs.
