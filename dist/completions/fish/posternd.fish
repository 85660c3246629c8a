# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_posternd_global_optspecs
    string join \n h/help V/version
end

function __fish_posternd_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_posternd_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_posternd_using_subcommand
    set -l cmd (__fish_posternd_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c posternd -n "__fish_posternd_needs_command" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_needs_command" -s V -l version -d 'Print version'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "init" -d 'Set a gate up: config, keys, folders and the engine\'s user; nothing that is there is changed'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "user" -d 'Add, list, change and remove users'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "run" -d 'Run the gate in the foreground'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "check" -d 'Look at config and host: every error and every warning'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "status" -d 'Show how the running gate does: counters by reason, what it listens with, quotas, what is open'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "grants" -d 'Show what is open now'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "metrics" -d 'Print what is counted, as OpenMetrics text'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "close" -d 'Close grants before their time'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "explain" -d 'Say why a knock does not work: a packet, a recording, or knocks as they come'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "confirm" -d 'Say that you can still get in: a trial is over and Postern stays'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "reload" -d 'Have the running gate read its config anew; open grants stay where they are still allowed'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "flush" -d 'Remove all that Postern put into the firewall'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "demo" -d 'Show a real gate and a real client in throw-away network namespaces, step by step'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand init" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand init" -l name -d 'The gate\'s name, part of every key [default: this host\'s name with its domain]' -r
complete -c posternd -n "__fish_posternd_using_subcommand init" -l address -d 'Where clients send to: HOST or HOST:PORT; may be repeated, once for each family [default: the gate\'s name]' -r
complete -c posternd -n "__fish_posternd_using_subcommand init" -l port -d 'The UDP port that knocks come to [default: 62201]' -r
complete -c posternd -n "__fish_posternd_using_subcommand init" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand init" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "add" -d 'Add a user and print what the client needs: a profile, and the same as a token'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "list" -d 'Show all users'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "show" -d 'Show what one user may do'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "remove" -d 'Remove a user, file and key; open grants end'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "disable" -d 'Let a user do nothing for a while; open grants end, services stay closed'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "enable" -d 'Let a disabled user knock again'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "rotate" -d 'Give a user a new key; the old one counts for a while yet'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -s s -l service -d 'What the user may open: tcp/22, udp/5000-5010, icmp, or the NAME of a [service.NAME]; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l target -d 'A network behind the gate that the user may reach, such as 10.0.0.0/24; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l network -d 'A network that addresses must lie in to be let in; may be repeated [default: all]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l grant-to -d 'Which address may be let in: the one inside the knock, the source of the packet, or either [default: either]' -r -f -a "claimed\t''
observed\t''
either\t''"
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l duration -d 'How long a grant lasts when a knock does not say [default: 30s]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l max-duration -d 'How long a grant may last at most [default: 1h]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l quota -d 'How many knocks are admitted in a time, such as 30/min [default: 30/min]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l request -d 'The line that postern enroll printed at the client, or - for standard input: no secret travels then' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l address -d 'Where this client sends to, instead of what the config says; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l pair -d 'Make a key pair here and hand out its private key; postern enroll at the client is the better way'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l psk -d 'Mix a pre-shared key into the key pair; it is a secret, and the token then holds it'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l totp -d 'Ask for one-time codes (TOTP), too, and print what an authenticator program needs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l qr -d 'Show the token as a QR code, too'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from list" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from list" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from show" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from show" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from remove" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from remove" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from remove" -l unprotect -d 'Also where services are then open to everyone, because no other user may open them'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from disable" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from disable" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from disable" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from enable" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from enable" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from enable" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l request -d 'The line that postern enroll printed at the client, or - for standard input: no secret travels then' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l keep-old -d 'How long the old key counts beside the new one; 0s: not at all' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l address -d 'Where this client sends to, instead of what the config says; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l pair -d 'Make a key pair here and hand out its private key; postern enroll at the client is the better way'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l psk -d 'Mix a pre-shared key into the key pair; it is a secret, and the token then holds it'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l qr -d 'Show the token as a QR code, too'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add a user and print what the client needs: a profile, and the same as a token'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "list" -d 'Show all users'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show what one user may do'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove a user, file and key; open grants end'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "disable" -d 'Let a user do nothing for a while; open grants end, services stay closed'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "enable" -d 'Let a disabled user knock again'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "rotate" -d 'Give a user a new key; the old one counts for a while yet'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand run" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand run" -l trial -d 'Take everything back after this time, such as 5m, unless a knock is admitted or `posternd confirm` comes before' -r
complete -c posternd -n "__fish_posternd_using_subcommand run" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand check" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand check" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand check" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand status" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand status" -l watch -d 'Tell it again and again, until Ctrl-C; on a terminal in place' -r
complete -c posternd -n "__fish_posternd_using_subcommand status" -l wait -d 'Wait until the gate serves, at most this long; exit 1 if it does not' -r
complete -c posternd -n "__fish_posternd_using_subcommand status" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand status" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand grants" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand grants" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand grants" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand metrics" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand metrics" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand close" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand close" -l user -d 'The grants of this user' -r
complete -c posternd -n "__fish_posternd_using_subcommand close" -l address -d 'The grants that let this address in' -r
complete -c posternd -n "__fish_posternd_using_subcommand close" -l id -d 'This grant' -r
complete -c posternd -n "__fish_posternd_using_subcommand close" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand close" -l all -d 'Every grant'
complete -c posternd -n "__fish_posternd_using_subcommand close" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l interface -d 'With --live: listen on this interface alone [default: where the config says]' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l for -d 'With --live: end after this time, such as 30s or 10m' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l count -d 'End after so many datagrams' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l at -d 'When the packets came: 2026-11-22T10:41:00Z, seconds since 1970 as @1795344060, or 5m for so long ago [default: now]' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l source -d 'Where the packets came from' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l gate-name -d 'Another gate\'s name that the client may have; may be repeated. This host\'s own names and addresses are tried in any case' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l live -d 'Listen beside the running gate, and explain knocks as they come'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l all -d 'Tell of every packet of a recording, also of those that are for no knock port'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -s v -l verbose -d 'Tell every step of each datagram'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand confirm" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand confirm" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand confirm" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand reload" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand reload" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand reload" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand flush" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand flush" -l json -d 'Write JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand flush" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand demo" -l backend -d 'The firewall driver: auto, iptables or nftables' -r -f -a "auto\t''
iptables\t''
nftables\t''"
complete -c posternd -n "__fish_posternd_using_subcommand demo" -l json -d 'Write JSON, for programs: one object a step'
complete -c posternd -n "__fish_posternd_using_subcommand demo" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "init" -d 'Set a gate up: config, keys, folders and the engine\'s user; nothing that is there is changed'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "user" -d 'Add, list, change and remove users'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "run" -d 'Run the gate in the foreground'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "check" -d 'Look at config and host: every error and every warning'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "status" -d 'Show how the running gate does: counters by reason, what it listens with, quotas, what is open'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "grants" -d 'Show what is open now'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "metrics" -d 'Print what is counted, as OpenMetrics text'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "close" -d 'Close grants before their time'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "explain" -d 'Say why a knock does not work: a packet, a recording, or knocks as they come'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "confirm" -d 'Say that you can still get in: a trial is over and Postern stays'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "reload" -d 'Have the running gate read its config anew; open grants stay where they are still allowed'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "flush" -d 'Remove all that Postern put into the firewall'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "demo" -d 'Show a real gate and a real client in throw-away network namespaces, step by step'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user run check status grants metrics close explain confirm reload flush demo help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "add" -d 'Add a user and print what the client needs: a profile, and the same as a token'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "list" -d 'Show all users'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "show" -d 'Show what one user may do'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "remove" -d 'Remove a user, file and key; open grants end'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "disable" -d 'Let a user do nothing for a while; open grants end, services stay closed'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "enable" -d 'Let a disabled user knock again'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "rotate" -d 'Give a user a new key; the old one counts for a while yet'
