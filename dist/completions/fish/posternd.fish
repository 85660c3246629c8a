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
complete -c posternd -n "__fish_posternd_needs_command" -f -a "run" -d 'Run the gate in the foreground'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "check" -d 'Look at config and host: every error and every warning'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "status" -d 'Show how the running gate does: counters by reason'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "grants" -d 'Show what is open now'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "metrics" -d 'Print what is counted, as OpenMetrics text'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "close" -d 'Close grants before their time'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "confirm" -d 'Say that you can still get in: a trial is over and Postern stays'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "flush" -d 'Remove all that Postern put into the firewall'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "demo" -d 'Show a real gate and a real client in throw-away network namespaces, step by step'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand run" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand run" -l trial -d 'Take everything back after this time, such as 5m, unless a knock is admitted or `posternd confirm` comes before' -r
complete -c posternd -n "__fish_posternd_using_subcommand run" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand check" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand check" -l json -d 'Print JSON'
complete -c posternd -n "__fish_posternd_using_subcommand check" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand status" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand status" -l json -d 'Print JSON'
complete -c posternd -n "__fish_posternd_using_subcommand status" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand grants" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand grants" -l json -d 'Print JSON'
complete -c posternd -n "__fish_posternd_using_subcommand grants" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand metrics" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand metrics" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand close" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand close" -l user -d 'The grants of this user' -r
complete -c posternd -n "__fish_posternd_using_subcommand close" -l address -d 'The grants that let this address in' -r
complete -c posternd -n "__fish_posternd_using_subcommand close" -l id -d 'This grant' -r
complete -c posternd -n "__fish_posternd_using_subcommand close" -l json -d 'Print JSON'
complete -c posternd -n "__fish_posternd_using_subcommand close" -l all -d 'Every grant'
complete -c posternd -n "__fish_posternd_using_subcommand close" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand confirm" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand confirm" -l json -d 'Print JSON'
complete -c posternd -n "__fish_posternd_using_subcommand confirm" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand flush" -l config -d 'The gate\'s config' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand flush" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand demo" -l backend -d 'The firewall driver: auto, iptables or nftables' -r -f -a "auto\t''
iptables\t''
nftables\t''"
complete -c posternd -n "__fish_posternd_using_subcommand demo" -l json -d 'Print JSON: one object a step'
complete -c posternd -n "__fish_posternd_using_subcommand demo" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "run" -d 'Run the gate in the foreground'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "check" -d 'Look at config and host: every error and every warning'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "status" -d 'Show how the running gate does: counters by reason'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "grants" -d 'Show what is open now'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "metrics" -d 'Print what is counted, as OpenMetrics text'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "close" -d 'Close grants before their time'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "confirm" -d 'Say that you can still get in: a trial is over and Postern stays'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "flush" -d 'Remove all that Postern put into the firewall'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "demo" -d 'Show a real gate and a real client in throw-away network namespaces, step by step'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from run check status grants metrics close confirm flush demo help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
