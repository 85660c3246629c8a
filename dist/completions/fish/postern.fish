# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_postern_global_optspecs
    string join \n config= h/help V/version
end

function __fish_postern_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_postern_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_postern_using_subcommand
    set -l cmd (__fish_postern_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c postern -n "__fish_postern_needs_command" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_needs_command" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_needs_command" -s V -l version -d 'Print version'
complete -c postern -n "__fish_postern_needs_command" -f -a "knock" -d 'Send a knock to each address of a gate to open a service'
complete -c postern -n "__fish_postern_needs_command" -f -a "close" -d 'Close open grants early; all of them if no service is named'
complete -c postern -n "__fish_postern_needs_command" -f -a "connect" -d 'Connect to a port and relay standard input and output; knock if it is closed (ssh\'s ProxyCommand)'
complete -c postern -n "__fish_postern_needs_command" -f -a "run" -d 'Knock, run a command, and close the grant when the command ends'
complete -c postern -n "__fish_postern_needs_command" -f -a "keep" -d 'Keep services open until a signal ends it, also when this machine\'s address changes'
complete -c postern -n "__fish_postern_needs_command" -f -a "profiles" -d 'List the profiles of the config'
complete -c postern -n "__fish_postern_needs_command" -f -a "enroll" -d 'Make a key pair and print the enrolment request for a gate; the private key stays on this machine'
complete -c postern -n "__fish_postern_needs_command" -f -a "import" -d 'Add a profile from the token or the TOML text of the gate\'s administrator, or profiles from a .fwknoprc'
complete -c postern -n "__fish_postern_needs_command" -f -a "keygen" -d 'Make a shared key or a key pair'
complete -c postern -n "__fish_postern_needs_command" -f -a "open-packet" -d 'Open a packet with the profile\'s key and show its request'
complete -c postern -n "__fish_postern_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c postern -n "__fish_postern_using_subcommand knock" -l gate -d 'Use this gate name, as in the gate\'s own config' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l address -d 'Knock at HOST, HOST:PORT or [IPv6]:PORT; repeatable [default: the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l key-file -d 'Read the shared key from this file, which holds nothing else' -r -F
complete -c postern -n "__fish_postern_using_subcommand knock" -s s -l service -d 'Request a service: tcp/22, udp/5000-5010, icmp, or a service that the gate defines; repeatable' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l allow -d 'Allow this address: auto, both, source, source/24, an address, a network, or stun:HOST to ask a STUN server' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l time-offset -d 'Correct this machine\'s clock: +30s if it is behind, -30s if it is ahead' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l target -d 'Reach this host behind the gate' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l for -d 'Open for this time, such as 30s or 10m [default: as the profile says, or the gate\'s default]' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l wait -d 'Wait until the first requested TCP port opens; exit with status 3 if it does not' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l spoof-source -d 'Send from this source address, which this machine does not have; requires root and --allow' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand knock" -l key-stdin -d 'Read the shared key from standard input [default: from the profile, or POSTERN_KEY]'
complete -c postern -n "__fish_postern_using_subcommand knock" -s 4 -l ipv4 -d 'Knock over IPv4 only'
complete -c postern -n "__fish_postern_using_subcommand knock" -s 6 -l ipv6 -d 'Knock over IPv6 only'
complete -c postern -n "__fish_postern_using_subcommand knock" -l code-stdin -d 'Read the one-time code from standard input [default: from POSTERN_CODE, or as the profile says]'
complete -c postern -n "__fish_postern_using_subcommand knock" -l sequence -d 'Hit the ports of the profile\'s sequence [default: if the profile has no key]'
complete -c postern -n "__fish_postern_using_subcommand knock" -l encrypted-sequence -d 'The same, if it is an encrypted sequence of fwknop 1.9'
complete -c postern -n "__fish_postern_using_subcommand knock" -l once -d 'With --wait, knock once and do not repeat the knock'
complete -c postern -n "__fish_postern_using_subcommand knock" -l print -d 'Write each packet as a line of base64, fwknop\'s as it is, or each hit of a sequence as HOST PORT, and send nothing'
complete -c postern -n "__fish_postern_using_subcommand knock" -l dry-run -d 'Show the request, and send nothing'
complete -c postern -n "__fish_postern_using_subcommand knock" -l json -d 'Write one JSON object'
complete -c postern -n "__fish_postern_using_subcommand knock" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand close" -l gate -d 'Use this gate name, as in the gate\'s own config' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l address -d 'Knock at HOST, HOST:PORT or [IPv6]:PORT; repeatable [default: the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l key-file -d 'Read the shared key from this file, which holds nothing else' -r -F
complete -c postern -n "__fish_postern_using_subcommand close" -s s -l service -d 'Request a service: tcp/22, udp/5000-5010, icmp, or a service that the gate defines; repeatable' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l allow -d 'Allow this address: auto, both, source, source/24, an address, a network, or stun:HOST to ask a STUN server' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l time-offset -d 'Correct this machine\'s clock: +30s if it is behind, -30s if it is ahead' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l target -d 'Reach this host behind the gate' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand close" -l key-stdin -d 'Read the shared key from standard input [default: from the profile, or POSTERN_KEY]'
complete -c postern -n "__fish_postern_using_subcommand close" -s 4 -l ipv4 -d 'Knock over IPv4 only'
complete -c postern -n "__fish_postern_using_subcommand close" -s 6 -l ipv6 -d 'Knock over IPv6 only'
complete -c postern -n "__fish_postern_using_subcommand close" -l print -d 'Write each packet as a line of base64, fwknop\'s as it is, or each hit of a sequence as HOST PORT, and send nothing'
complete -c postern -n "__fish_postern_using_subcommand close" -l dry-run -d 'Show the request, and send nothing'
complete -c postern -n "__fish_postern_using_subcommand close" -l json -d 'Write one JSON object'
complete -c postern -n "__fish_postern_using_subcommand close" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand connect" -s s -l service -d 'Request a service: tcp/22, udp/5000-5010, icmp, or a service that the gate defines; repeatable' -r
complete -c postern -n "__fish_postern_using_subcommand connect" -l allow -d 'Allow this address: auto, both, source, source/24, an address, a network, or stun:HOST to ask a STUN server' -r
complete -c postern -n "__fish_postern_using_subcommand connect" -l time-offset -d 'Correct this machine\'s clock: +30s if it is behind, -30s if it is ahead' -r
complete -c postern -n "__fish_postern_using_subcommand connect" -l for -d 'Open for this time, such as 30s or 10m [default: as the profile says, or the gate\'s default]' -r
complete -c postern -n "__fish_postern_using_subcommand connect" -l wait -d 'Wait this long for the port to open; exit with status 3 if it does not' -r
complete -c postern -n "__fish_postern_using_subcommand connect" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand connect" -s 4 -l ipv4 -d 'Knock over IPv4 only'
complete -c postern -n "__fish_postern_using_subcommand connect" -s 6 -l ipv6 -d 'Knock over IPv6 only'
complete -c postern -n "__fish_postern_using_subcommand connect" -l target -d 'Treat HOST as a host behind the gate'
complete -c postern -n "__fish_postern_using_subcommand connect" -l once -d 'Knock once and do not repeat the knock'
complete -c postern -n "__fish_postern_using_subcommand connect" -s q -l quiet -d 'Write nothing except errors'
complete -c postern -n "__fish_postern_using_subcommand connect" -l json -d 'Write one JSON object to standard error'
complete -c postern -n "__fish_postern_using_subcommand connect" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand run" -l gate -d 'Use this gate name, as in the gate\'s own config' -r
complete -c postern -n "__fish_postern_using_subcommand run" -l address -d 'Knock at HOST, HOST:PORT or [IPv6]:PORT; repeatable [default: the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand run" -l key-file -d 'Read the shared key from this file, which holds nothing else' -r -F
complete -c postern -n "__fish_postern_using_subcommand run" -s s -l service -d 'Request a service: tcp/22, udp/5000-5010, icmp, or a service that the gate defines; repeatable' -r
complete -c postern -n "__fish_postern_using_subcommand run" -l allow -d 'Allow this address: auto, both, source, source/24, an address, a network, or stun:HOST to ask a STUN server' -r
complete -c postern -n "__fish_postern_using_subcommand run" -l time-offset -d 'Correct this machine\'s clock: +30s if it is behind, -30s if it is ahead' -r
complete -c postern -n "__fish_postern_using_subcommand run" -l target -d 'Reach this host behind the gate' -r
complete -c postern -n "__fish_postern_using_subcommand run" -l for -d 'Open for this time, such as 30s or 10m [default: as the profile says, or the gate\'s default]' -r
complete -c postern -n "__fish_postern_using_subcommand run" -l wait -d 'Wait this long for the port to open; exit with status 3 if it does not' -r
complete -c postern -n "__fish_postern_using_subcommand run" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand run" -l key-stdin -d 'Read the shared key from standard input [default: from the profile, or POSTERN_KEY]'
complete -c postern -n "__fish_postern_using_subcommand run" -s 4 -l ipv4 -d 'Knock over IPv4 only'
complete -c postern -n "__fish_postern_using_subcommand run" -s 6 -l ipv6 -d 'Knock over IPv6 only'
complete -c postern -n "__fish_postern_using_subcommand run" -l keep-open -d 'Renew the grant before it ends, until the command ends'
complete -c postern -n "__fish_postern_using_subcommand run" -l code-stdin -d 'Read the one-time code from standard input [default: from POSTERN_CODE, or as the profile says]'
complete -c postern -n "__fish_postern_using_subcommand run" -l once -d 'Knock once and do not repeat the knock'
complete -c postern -n "__fish_postern_using_subcommand run" -s q -l quiet -d 'Write nothing except errors'
complete -c postern -n "__fish_postern_using_subcommand run" -l json -d 'Write one JSON object to standard error'
complete -c postern -n "__fish_postern_using_subcommand run" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand keep" -l gate -d 'Use this gate name, as in the gate\'s own config' -r
complete -c postern -n "__fish_postern_using_subcommand keep" -l address -d 'Knock at HOST, HOST:PORT or [IPv6]:PORT; repeatable [default: the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand keep" -l key-file -d 'Read the shared key from this file, which holds nothing else' -r -F
complete -c postern -n "__fish_postern_using_subcommand keep" -s s -l service -d 'Request a service: tcp/22, udp/5000-5010, icmp, or a service that the gate defines; repeatable' -r
complete -c postern -n "__fish_postern_using_subcommand keep" -l allow -d 'Allow this address: auto, both, source, source/24, an address, a network, or stun:HOST to ask a STUN server' -r
complete -c postern -n "__fish_postern_using_subcommand keep" -l time-offset -d 'Correct this machine\'s clock: +30s if it is behind, -30s if it is ahead' -r
complete -c postern -n "__fish_postern_using_subcommand keep" -l target -d 'Reach this host behind the gate' -r
complete -c postern -n "__fish_postern_using_subcommand keep" -l for -d 'Open for this time, such as 30s or 10m [default: as the profile says, or the gate\'s default]' -r
complete -c postern -n "__fish_postern_using_subcommand keep" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand keep" -l key-stdin -d 'Read the shared key from standard input [default: from the profile, or POSTERN_KEY]'
complete -c postern -n "__fish_postern_using_subcommand keep" -s 4 -l ipv4 -d 'Knock over IPv4 only'
complete -c postern -n "__fish_postern_using_subcommand keep" -s 6 -l ipv6 -d 'Knock over IPv6 only'
complete -c postern -n "__fish_postern_using_subcommand keep" -s q -l quiet -d 'Write nothing except errors'
complete -c postern -n "__fish_postern_using_subcommand keep" -l json -d 'Write one JSON object to standard error'
complete -c postern -n "__fish_postern_using_subcommand keep" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand profiles" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand profiles" -l json -d 'Write one JSON object'
complete -c postern -n "__fish_postern_using_subcommand profiles" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand enroll" -l profile -d 'Choose the name of the profile [default: NAME]' -r
complete -c postern -n "__fish_postern_using_subcommand enroll" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand enroll" -l json -d 'Write one JSON object'
complete -c postern -n "__fish_postern_using_subcommand enroll" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand import" -l profile -d 'Choose the name of the profile [default: as enrolled, or the first part of the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand import" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand import" -l replace -d 'Replace the profile of this name, or the only profile of the gate; with a .fwknoprc, all of its names'
complete -c postern -n "__fish_postern_using_subcommand import" -l dry-run -d 'Print the profiles of a .fwknoprc with … in place of each key, and write nothing'
complete -c postern -n "__fish_postern_using_subcommand import" -l json -d 'Write one JSON object'
complete -c postern -n "__fish_postern_using_subcommand import" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand keygen" -s o -l output -d 'Write the secret key to this new file, readable by its owner only [default: standard output]' -r -F
complete -c postern -n "__fish_postern_using_subcommand keygen" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand keygen" -l pair -d 'Make a key pair instead of a shared key'
complete -c postern -n "__fish_postern_using_subcommand keygen" -l json -d 'Write one JSON object'
complete -c postern -n "__fish_postern_using_subcommand keygen" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l gate -d 'Use this gate name, as in the gate\'s own config' -r
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l address -d 'Knock at HOST, HOST:PORT or [IPv6]:PORT; repeatable [default: the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l key-file -d 'Read the shared key from this file, which holds nothing else' -r -F
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l config -d 'Read profiles from this file [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l key-stdin -d 'Read the shared key from standard input [default: from the profile, or POSTERN_KEY]'
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l json -d 'Write one JSON object'
complete -c postern -n "__fish_postern_using_subcommand open-packet" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "knock" -d 'Send a knock to each address of a gate to open a service'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "close" -d 'Close open grants early; all of them if no service is named'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "connect" -d 'Connect to a port and relay standard input and output; knock if it is closed (ssh\'s ProxyCommand)'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "run" -d 'Knock, run a command, and close the grant when the command ends'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "keep" -d 'Keep services open until a signal ends it, also when this machine\'s address changes'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "profiles" -d 'List the profiles of the config'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "enroll" -d 'Make a key pair and print the enrolment request for a gate; the private key stays on this machine'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "import" -d 'Add a profile from the token or the TOML text of the gate\'s administrator, or profiles from a .fwknoprc'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "keygen" -d 'Make a shared key or a key pair'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "open-packet" -d 'Open a packet with the profile\'s key and show its request'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close connect run keep profiles enroll import keygen open-packet help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
