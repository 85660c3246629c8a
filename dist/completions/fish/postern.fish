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

complete -c postern -n "__fish_postern_needs_command" -l config -d 'The config with the profiles [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_needs_command" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_needs_command" -s V -l version -d 'Print version'
complete -c postern -n "__fish_postern_needs_command" -f -a "knock" -d 'Ask a gate to open: one knock over each family, IPv4 and IPv6'
complete -c postern -n "__fish_postern_needs_command" -f -a "close" -d 'Close what one has opened, before its time; all of it if no service is named'
complete -c postern -n "__fish_postern_needs_command" -f -a "enroll" -d 'Make a key pair for a gate and print the request to be enrolled there; the private key stays on this machine'
complete -c postern -n "__fish_postern_needs_command" -f -a "import" -d 'Add a profile from the token, or the profile in TOML, that the gate\'s administrator sent'
complete -c postern -n "__fish_postern_needs_command" -f -a "keygen" -d 'Make a key to share with a gate, or a key pair'
complete -c postern -n "__fish_postern_needs_command" -f -a "open-packet" -d 'Open a packet with the profile\'s key and show what it asks for'
complete -c postern -n "__fish_postern_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c postern -n "__fish_postern_using_subcommand knock" -l gate -d 'The gate\'s name, as its own config says it' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l address -d 'Where knocks go: HOST, HOST:PORT or [IPv6]:PORT; may be repeated [default: the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l key-file -d 'A file that holds the shared key and nothing else' -r -F
complete -c postern -n "__fish_postern_using_subcommand knock" -s s -l service -d 'tcp/22, udp/5000-5010, icmp, or a service that the gate names; may be repeated' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l allow -d 'Whom to let in: auto, source, source/24, an address or a network' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l target -d 'A host behind the gate to reach' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l for -d 'For how long to open, such as 30s or 10m [default: the profile\'s, or what the gate grants]' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l wait -d 'Wait until the first TCP port asked for opens; exit status 3 if it does not' -r
complete -c postern -n "__fish_postern_using_subcommand knock" -l config -d 'The config with the profiles [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand knock" -l key-stdin -d 'Read the shared key from standard input; without any key, the variable POSTERN_KEY is asked'
complete -c postern -n "__fish_postern_using_subcommand knock" -s 4 -l ipv4 -d 'Knock over IPv4 only'
complete -c postern -n "__fish_postern_using_subcommand knock" -s 6 -l ipv6 -d 'Knock over IPv6 only'
complete -c postern -n "__fish_postern_using_subcommand knock" -l print -d 'Send nothing; write each packet as a line of base64'
complete -c postern -n "__fish_postern_using_subcommand knock" -l dry-run -d 'Send nothing; show what would be asked'
complete -c postern -n "__fish_postern_using_subcommand knock" -l json -d 'Write one JSON object, for programs'
complete -c postern -n "__fish_postern_using_subcommand knock" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand close" -l gate -d 'The gate\'s name, as its own config says it' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l address -d 'Where knocks go: HOST, HOST:PORT or [IPv6]:PORT; may be repeated [default: the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l key-file -d 'A file that holds the shared key and nothing else' -r -F
complete -c postern -n "__fish_postern_using_subcommand close" -s s -l service -d 'tcp/22, udp/5000-5010, icmp, or a service that the gate names; may be repeated' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l allow -d 'Whom to let in: auto, source, source/24, an address or a network' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l target -d 'A host behind the gate to reach' -r
complete -c postern -n "__fish_postern_using_subcommand close" -l config -d 'The config with the profiles [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand close" -l key-stdin -d 'Read the shared key from standard input; without any key, the variable POSTERN_KEY is asked'
complete -c postern -n "__fish_postern_using_subcommand close" -s 4 -l ipv4 -d 'Knock over IPv4 only'
complete -c postern -n "__fish_postern_using_subcommand close" -s 6 -l ipv6 -d 'Knock over IPv6 only'
complete -c postern -n "__fish_postern_using_subcommand close" -l print -d 'Send nothing; write each packet as a line of base64'
complete -c postern -n "__fish_postern_using_subcommand close" -l dry-run -d 'Send nothing; show what would be asked'
complete -c postern -n "__fish_postern_using_subcommand close" -l json -d 'Write one JSON object, for programs'
complete -c postern -n "__fish_postern_using_subcommand close" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand enroll" -l profile -d 'What the profile will be called [default: NAME]' -r
complete -c postern -n "__fish_postern_using_subcommand enroll" -l config -d 'The config with the profiles [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand enroll" -l json -d 'Write one JSON object, for programs'
complete -c postern -n "__fish_postern_using_subcommand enroll" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand import" -l profile -d 'What to call the profile [default: as it was enrolled, or the first part of the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand import" -l config -d 'The config with the profiles [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand import" -l replace -d 'Put it in the place of the profile that has its name, or of the only one for its gate'
complete -c postern -n "__fish_postern_using_subcommand import" -l json -d 'Write one JSON object, for programs'
complete -c postern -n "__fish_postern_using_subcommand import" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand keygen" -s o -l output -d 'Write the secret key into this new file, readable by its owner only, instead of to standard output' -r -F
complete -c postern -n "__fish_postern_using_subcommand keygen" -l config -d 'The config with the profiles [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand keygen" -l pair -d 'A key pair instead of a shared key'
complete -c postern -n "__fish_postern_using_subcommand keygen" -l json -d 'Write one JSON object, for programs'
complete -c postern -n "__fish_postern_using_subcommand keygen" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l gate -d 'The gate\'s name, as its own config says it' -r
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l address -d 'Where knocks go: HOST, HOST:PORT or [IPv6]:PORT; may be repeated [default: the gate\'s name]' -r
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l key-file -d 'A file that holds the shared key and nothing else' -r -F
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l config -d 'The config with the profiles [default: postern/config.toml in $XDG_CONFIG_HOME or ~/.config]' -r -F
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l key-stdin -d 'Read the shared key from standard input; without any key, the variable POSTERN_KEY is asked'
complete -c postern -n "__fish_postern_using_subcommand open-packet" -l json -d 'Write one JSON object, for programs'
complete -c postern -n "__fish_postern_using_subcommand open-packet" -s h -l help -d 'Print help'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close enroll import keygen open-packet help" -f -a "knock" -d 'Ask a gate to open: one knock over each family, IPv4 and IPv6'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close enroll import keygen open-packet help" -f -a "close" -d 'Close what one has opened, before its time; all of it if no service is named'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close enroll import keygen open-packet help" -f -a "enroll" -d 'Make a key pair for a gate and print the request to be enrolled there; the private key stays on this machine'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close enroll import keygen open-packet help" -f -a "import" -d 'Add a profile from the token, or the profile in TOML, that the gate\'s administrator sent'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close enroll import keygen open-packet help" -f -a "keygen" -d 'Make a key to share with a gate, or a key pair'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close enroll import keygen open-packet help" -f -a "open-packet" -d 'Open a packet with the profile\'s key and show what it asks for'
complete -c postern -n "__fish_postern_using_subcommand help; and not __fish_seen_subcommand_from knock close enroll import keygen open-packet help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
