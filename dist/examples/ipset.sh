#!/bin/sh
# Opens and closes grants as entries of two ipsets. The kernel removes an entry when its time is up, so these grants
# end even if posternd is killed. TCP, UDP and SCTP ports; a network of any size but /0.
#
# In posternd.toml, with this file as /usr/local/sbin/postern-ipset (owned by root, mode 755):
#
#   [firewall]
#   backend = "command"
#   protect = "none"
#
#   [firewall.command]
#   open  = ["/usr/local/sbin/postern-ipset", "open", "{family}", "{allow}", "{target}", "{protocol}", "{ports}", "{seconds}"]
#   close = ["/usr/local/sbin/postern-ipset", "close", "{family}", "{allow}", "{target}", "{protocol}", "{ports}"]
#
# Once at boot, before posternd (for IPv6 the same with ip6tables and postern6):
#
#   ipset create postern4 hash:net,port timeout 0
#   ipset create postern6 hash:net,port family inet6 timeout 0
#   iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
#   iptables -A INPUT -m set --match-set postern4 src,dst -j ACCEPT
#   iptables -A INPUT -p tcp --dport 22 -j DROP
set -eu

refuse() {
  echo "$1" >&2
  exit 2
}

[ $# -ge 6 ] || refuse "usage: ipset.sh open 4|6 NETWORK '' PROTOCOL PORTS SECONDS, or close 4|6 NETWORK '' PROTOCOL PORTS"
action=$1 family=$2 network=$3 target=$4 protocol=$5 ports=$6
[ -z "$target" ] || refuse "these sets hold services of the gate itself, not of $target"

case $family in
  4 | 6) set=postern$family ;;
  *) refuse "unknown family $family" ;;
esac
case $protocol in
  tcp | udp | sctp) ;;
  *) refuse "a set of networks and ports cannot hold $protocol" ;;
esac

case $action in
  open)
    seconds=${7:-}
    case $seconds in
      '' | 0 | *[!0-9]*) refuse "open needs a number of seconds" ;;
    esac
    # The longest timeout of an ipset. posternd closes the grant in time all the same.
    [ "$seconds" -le 2147483 ] || seconds=2147483
    exec ipset -exist add "$set" "$network,$protocol:$ports" timeout "$seconds"
    ;;
  close) exec ipset -exist del "$set" "$network,$protocol:$ports" ;;
  *) refuse "unknown action $action: open or close" ;;
esac
