#!/bin/sh
# Keeps open grants as lines of a file and loads the file into an anchor of pf after each change. If pf refuses it, the
# old file is restored and the change fails.
#
# In posternd.toml, with this file as /usr/local/sbin/postern-pf (owned by root, mode 755):
#
#   [firewall]
#   backend = "command"
#   protect = "none"
#
#   [firewall.command]
#   open  = ["/usr/local/sbin/postern-pf", "/run/postern/anchor.conf", "open", "{id}", "{family}", "{allow}", "{target}", "{protocol}", "{first}", "{last}"]
#   close = ["/usr/local/sbin/postern-pf", "/run/postern/anchor.conf", "close", "{id}", "{family}", "{allow}", "{target}", "{protocol}", "{first}", "{last}"]
#   list  = ["/usr/local/sbin/postern-pf", "/run/postern/anchor.conf", "list"]
#
# In pf.conf, after the rule that closes the service (block in proto tcp to port 22):
#
#   anchor "postern"
set -eu
pfctl=/sbin/pfctl

refuse() {
  echo "$1" >&2
  exit 2
}

[ $# -ge 2 ] || refuse "usage: pf-anchor.sh FILE open|close ID 4|6 NETWORK TARGET PROTOCOL FIRST LAST, or pf-anchor.sh FILE list"
file=$1 action=$2
[ -e "$file" ] || : >"$file"

if [ "$action" = list ]; then
  sed -n 's/.* # postern \([0-9]*\) .*/\1/p' "$file" | sort -nu
  exit
fi

[ $# -eq 9 ] || refuse "$action needs ID FAMILY NETWORK TARGET PROTOCOL FIRST LAST"
id=$3 family=$4 network=$5 target=${6:-any} protocol=$7 first=$8 last=$9
case $id in
  '' | *[!0-9]*) refuse "$id is not the number of a grant" ;;
esac
case $family in
  4) inet=inet ;;
  6) inet=inet6 ;;
  *) refuse "unknown family $family" ;;
esac
case $protocol in
  tcp | udp | sctp) rule="proto $protocol from $network to $target port $first:$last" ;;
  icmp) rule="proto icmp from $network to $target" ;;
  icmpv6) rule="proto icmp6 from $network to $target" ;;
  *) refuse "unknown protocol $protocol" ;;
esac
mark="# postern $id $protocol/$first-$last"

# An existing line is replaced, so both actions may run again.
umask 077
grep -vF -- " $mark" "$file" >"$file.new" || [ $? -eq 1 ]
case $action in
  open) echo "pass in quick $inet $rule keep state $mark" >>"$file.new" ;;
  close) ;;
  *) refuse "unknown action $action: open, close or list" ;;
esac
cp -p "$file" "$file.old"
mv "$file.new" "$file"
"$pfctl" -q -a postern -f "$file" || {
  status=$?
  mv "$file.old" "$file"
  exit "$status"
}
rm -f "$file.old"
