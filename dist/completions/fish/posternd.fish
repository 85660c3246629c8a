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
complete -c posternd -n "__fish_posternd_needs_command" -f -a "init" -d 'Set up a gate: config, keys, folders and the engine\'s user; keep everything that exists'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "user" -d 'Add, list, change and remove users'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "roster" -d 'Make, sign and verify a roster, the users of many gates in one file; take one at a gate'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "import" -d 'Import configs of fwknopd and knockd: add their users and services, which open no more than before'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "run" -d 'Run the gate in the foreground'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "check" -d 'Check config and host, and list every error and warning'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "status" -d 'Show counters, captures, quotas and open grants of the running gate'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "grants" -d 'List open grants'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "metrics" -d 'Print metrics as OpenMetrics text'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "close" -d 'Close grants before they end'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "explain" -d 'Explain why a knock does not work: from a packet, a recording or live traffic'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "confirm" -d 'Confirm a trial run and keep the firewall rules'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "reload" -d 'Reload the config of the running gate; keep open grants that it still allows'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "flush" -d 'Remove all of Postern\'s rules from the firewall'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "reset-clock" -d 'Admit knocks again after the clock was ahead: set the recorded time to now; posternd must not run'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "demo" -d 'Run a real gate and a real client in temporary network namespaces, step by step'
complete -c posternd -n "__fish_posternd_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand init" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand init" -l name -d 'Set the gate\'s name, a part of every key [default: this host\'s name with its domain]' -r
complete -c posternd -n "__fish_posternd_using_subcommand init" -l address -d 'Send knocks to this HOST or HOST:PORT; may be repeated, once for each family [default: the gate\'s name]' -r
complete -c posternd -n "__fish_posternd_using_subcommand init" -l port -d 'Receive knocks on this UDP port [default: 62201]' -r
complete -c posternd -n "__fish_posternd_using_subcommand init" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand init" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "add" -d 'Add a user, and print the client\'s profile and token'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "list" -d 'List all users'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "show" -d 'Show the rights of one user'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "remove" -d 'Remove a user, its file and its key; end the user\'s grants'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "disable" -d 'Disable a user; end the user\'s grants and keep services closed'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "enable" -d 'Enable a disabled user'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "rotate" -d 'Give a user a new key; accept the old key for a while'
complete -c posternd -n "__fish_posternd_using_subcommand user; and not __fish_seen_subcommand_from add list show remove disable enable rotate help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -s s -l service -d 'Allow this service: tcp/22, udp/5000-5010, icmp, or the NAME of a [service.NAME]; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l target -d 'Allow this network behind the gate, such as 10.0.0.0/24; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l from -d 'Admit only knocks whose packet comes from this network; may be repeated [default: all]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l network -d 'Admit only addresses of this network; may be repeated [default: all]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l grant-to -d 'Admit the address inside the knock (claimed), the packet\'s source (observed), only if both are the same (same), or either [default: either]' -r -f -a "claimed\t''
observed\t''
same\t''
either\t''"
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l duration -d 'Set how long a grant lasts if the knock names no time [default: 30s]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l max-duration -d 'Limit how long a grant may last [default: 1h]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l expires -d 'End the user at this time, or at the start of this day in UTC [default: never]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l quota -d 'Limit admitted knocks, such as 30/min [default: 30/min]' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l request -d 'Use this request, a line that postern enroll printed at the client, or - for standard input; it holds no secret' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l address -d 'Send knocks to this address instead of the config\'s; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l pair -d 'Make a key pair here and print its private key; postern enroll at the client is safer'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l psk -d 'Add a pre-shared key to the key pair; the token then holds this secret'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l totp -d 'Require one-time codes (TOTP), and print the URI for an authenticator program'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -l qr -d 'Print the token as a QR code, too'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from list" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from list" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from show" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from show" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from remove" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from remove" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from remove" -l unprotect -d 'Remove the user even if no other user may open a service, which is then open to everyone'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from disable" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from disable" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from disable" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from enable" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from enable" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from enable" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l request -d 'Use this request, a line that postern enroll printed at the client, or - for standard input; it holds no secret' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l keep-old -d 'Accept the old key for this time; with 0s it ends at once' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l address -d 'Send knocks to this address instead of the config\'s; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l pair -d 'Make a key pair here and print its private key; postern enroll at the client is safer'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l psk -d 'Add a pre-shared key to the key pair; the token then holds this secret'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -l qr -d 'Print the token as a QR code, too'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from rotate" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add a user, and print the client\'s profile and token'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "list" -d 'List all users'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show the rights of one user'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove a user, its file and its key; end the user\'s grants'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "disable" -d 'Disable a user; end the user\'s grants and keep services closed'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "enable" -d 'Enable a disabled user'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "rotate" -d 'Give a user a new key; accept the old key for a while'
complete -c posternd -n "__fish_posternd_using_subcommand user; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -f -a "init" -d 'Make a roster, and the signing key if its file is missing'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -f -a "add" -d 'Add a user to a roster'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -f -a "remove" -d 'Remove a user from a roster; gates then end the user\'s grants'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -f -a "sign" -d 'Sign a roster, beside the signatures of others if nothing was changed since'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -f -a "verify" -d 'Check the signatures, the end and the content of a roster'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -f -a "apply" -d 'Take a roster at this gate, and reload the running gate'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -f -a "publish" -d 'Put a roster at the coordinator, from where gates with from = "coordinator" take it'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -f -a "pull" -d 'Fetch the roster from the url in the config, and take it'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and not __fish_seen_subcommand_from init add remove sign verify apply publish pull help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from init" -l roster -d 'Use this roster; its signatures are in FILE.minisig' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from init" -l signing-key -d 'Sign with the key in this file, which minisign -G -W or `posternd roster init` made' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from init" -l until -d 'Let the roster end after this time, or at this day or time, such as 30d or 2027-01-31' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from init" -l gate -d 'Add this gate, with the public key that secrets are sealed for if it has one; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from init" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -l roster -d 'Use this roster; its signatures are in FILE.minisig' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -l signing-key -d 'Sign with the key in this file, which minisign -G -W or `posternd roster init` made' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -l until -d 'Let the roster end after this time, or at this day or time, such as 30d or 2027-01-31' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -l policy -d 'Give the user this policy of the roster' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -l gate -d 'Let the user open this gate or group of gates; may be repeated' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -l public-key -d 'Use this public key of the user, from postern keygen --pair' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -l key-file -d 'Seal the shared key in this file, from postern keygen, for each of the user\'s gates' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -l expires -d 'End the user at this time, or at the start of this day in UTC [default: never]' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from remove" -l roster -d 'Use this roster; its signatures are in FILE.minisig' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from remove" -l signing-key -d 'Sign with the key in this file, which minisign -G -W or `posternd roster init` made' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from remove" -l until -d 'Let the roster end after this time, or at this day or time, such as 30d or 2027-01-31' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from remove" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from sign" -l roster -d 'Use this roster; its signatures are in FILE.minisig' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from sign" -l signing-key -d 'Sign with the key in this file, which minisign -G -W or `posternd roster init` made' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from sign" -l until -d 'Let the roster end after this time, or at this day or time, such as 30d or 2027-01-31' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from sign" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from sign" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from verify" -l roster -d 'Use this roster; its signatures are in FILE.minisig' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from verify" -l public-key -d 'Trust this public key; may be repeated [default: those that the config trusts]' -r
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from verify" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from verify" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from apply" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from apply" -l unprotect -d 'Keep services closed for the users of this roster only; those of former users may then be open to everyone'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from apply" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from apply" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from publish" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from publish" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from publish" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from pull" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from pull" -l unprotect -d 'Keep services closed for the users of this roster only; those of former users may then be open to everyone'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from pull" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from pull" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from help" -f -a "init" -d 'Make a roster, and the signing key if its file is missing'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from help" -f -a "add" -d 'Add a user to a roster'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Remove a user from a roster; gates then end the user\'s grants'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from help" -f -a "sign" -d 'Sign a roster, beside the signatures of others if nothing was changed since'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Check the signatures, the end and the content of a roster'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from help" -f -a "apply" -d 'Take a roster at this gate, and reload the running gate'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from help" -f -a "publish" -d 'Put a roster at the coordinator, from where gates with from = "coordinator" take it'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from help" -f -a "pull" -d 'Fetch the roster from the url in the config, and take it'
complete -c posternd -n "__fish_posternd_using_subcommand roster; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand import" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand import" -l dry-run -d 'Print the users and services with … in place of each key, and write nothing'
complete -c posternd -n "__fish_posternd_using_subcommand import" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand import" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand run" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand run" -l trial -d 'Remove all rules after this time, such as 5m, unless a knock is admitted or `posternd confirm` runs first' -r
complete -c posternd -n "__fish_posternd_using_subcommand run" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand check" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand check" -l from -d 'Show what the host\'s rules do with a new connection from this address, and which rule decides' -r
complete -c posternd -n "__fish_posternd_using_subcommand check" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand check" -l plan -d 'Print the rules that the host\'s own chains need, as commands; posternd inserts them itself'
complete -c posternd -n "__fish_posternd_using_subcommand check" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand status" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand status" -l watch -d 'Repeat until Ctrl-C; on a terminal, replace the last output' -r
complete -c posternd -n "__fish_posternd_using_subcommand status" -l wait -d 'Wait until the gate serves, at most this long; exit 1 if it does not' -r
complete -c posternd -n "__fish_posternd_using_subcommand status" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand status" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand grants" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand grants" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand grants" -l cluster -d 'List the live grants of all gates of this name, as this gate knows them'
complete -c posternd -n "__fish_posternd_using_subcommand grants" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand metrics" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand metrics" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand close" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand close" -l user -d 'Close the grants of this user' -r
complete -c posternd -n "__fish_posternd_using_subcommand close" -l address -d 'Close the grants that admit this address' -r
complete -c posternd -n "__fish_posternd_using_subcommand close" -l id -d 'Close this grant' -r
complete -c posternd -n "__fish_posternd_using_subcommand close" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand close" -l all -d 'Close every grant'
complete -c posternd -n "__fish_posternd_using_subcommand close" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l hits -d 'With --source: explain these hits of a sequence in order, such as "tcp/7000 tcp/8000 udp/9000"; a port alone is of TCP' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l interface -d 'With --live or --clock: receive on this interface only [default: the config\'s]' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l for -d 'With --live or --clock: stop after this time, such as 30s or 10m' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l count -d 'Stop after this number of datagrams' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l at -d 'Assume that the packets arrived at this time: 2026-11-22T10:41:00Z, seconds since 1970 as @1795344060, or 5m for five minutes ago [default: now]' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l source -d 'Assume that the packets came from this address' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l gate-name -d 'Also try this gate name; may be repeated. This host\'s names and addresses are always tried' -r
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l live -d 'Capture packets while the gate runs, and explain knocks as they arrive'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l clock -d 'For a minute, compare the clock of each user who knocks with this one, also if it is hours off'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -l all -d 'Explain every packet of a recording, including those to other ports'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -s v -l verbose -d 'Print every step for each datagram'
complete -c posternd -n "__fish_posternd_using_subcommand explain" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand confirm" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand confirm" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand confirm" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand reload" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand reload" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand reload" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand flush" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand flush" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand flush" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand reset-clock" -l config -d 'Use this config file' -r -F
complete -c posternd -n "__fish_posternd_using_subcommand reset-clock" -l json -d 'Print JSON, for programs'
complete -c posternd -n "__fish_posternd_using_subcommand reset-clock" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand demo" -l backend -d 'Use this firewall driver: auto, iptables or nftables' -r -f -a "auto\t''
iptables\t''
nftables\t''"
complete -c posternd -n "__fish_posternd_using_subcommand demo" -l json -d 'Print JSON, for programs: one object for each step'
complete -c posternd -n "__fish_posternd_using_subcommand demo" -l classic -d 'Show a port sequence and a packet of fwknop instead of knocks'
complete -c posternd -n "__fish_posternd_using_subcommand demo" -l cluster -d 'Show three gates of one name that share an etcd. Needs a build with it, and the program'
complete -c posternd -n "__fish_posternd_using_subcommand demo" -s h -l help -d 'Print help'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "init" -d 'Set up a gate: config, keys, folders and the engine\'s user; keep everything that exists'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "user" -d 'Add, list, change and remove users'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "roster" -d 'Make, sign and verify a roster, the users of many gates in one file; take one at a gate'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "import" -d 'Import configs of fwknopd and knockd: add their users and services, which open no more than before'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "run" -d 'Run the gate in the foreground'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "check" -d 'Check config and host, and list every error and warning'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "status" -d 'Show counters, captures, quotas and open grants of the running gate'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "grants" -d 'List open grants'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "metrics" -d 'Print metrics as OpenMetrics text'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "close" -d 'Close grants before they end'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "explain" -d 'Explain why a knock does not work: from a packet, a recording or live traffic'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "confirm" -d 'Confirm a trial run and keep the firewall rules'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "reload" -d 'Reload the config of the running gate; keep open grants that it still allows'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "flush" -d 'Remove all of Postern\'s rules from the firewall'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "reset-clock" -d 'Admit knocks again after the clock was ahead: set the recorded time to now; posternd must not run'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "demo" -d 'Run a real gate and a real client in temporary network namespaces, step by step'
complete -c posternd -n "__fish_posternd_using_subcommand help; and not __fish_seen_subcommand_from init user roster import run check status grants metrics close explain confirm reload flush reset-clock demo help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "add" -d 'Add a user, and print the client\'s profile and token'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "list" -d 'List all users'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "show" -d 'Show the rights of one user'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "remove" -d 'Remove a user, its file and its key; end the user\'s grants'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "disable" -d 'Disable a user; end the user\'s grants and keep services closed'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "enable" -d 'Enable a disabled user'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from user" -f -a "rotate" -d 'Give a user a new key; accept the old key for a while'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from roster" -f -a "init" -d 'Make a roster, and the signing key if its file is missing'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from roster" -f -a "add" -d 'Add a user to a roster'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from roster" -f -a "remove" -d 'Remove a user from a roster; gates then end the user\'s grants'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from roster" -f -a "sign" -d 'Sign a roster, beside the signatures of others if nothing was changed since'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from roster" -f -a "verify" -d 'Check the signatures, the end and the content of a roster'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from roster" -f -a "apply" -d 'Take a roster at this gate, and reload the running gate'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from roster" -f -a "publish" -d 'Put a roster at the coordinator, from where gates with from = "coordinator" take it'
complete -c posternd -n "__fish_posternd_using_subcommand help; and __fish_seen_subcommand_from roster" -f -a "pull" -d 'Fetch the roster from the url in the config, and take it'
