# Completion of gradcli for fish; what it proposes comes from gradcli itself.

function __gradcli_completion
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l answer (_GRADCLI_COMPLETION=fish $before[1] $before "$current" 2> /dev/null < /dev/null)
    set -l key (string match -r '^[-\w.+~/]+=' -- $current)
    set -l part (string replace -- "$key" '' $current)
    switch "$answer[1]"
        case files
            for path in (__fish_complete_path $part)
                echo $key$path
            end
        case folders
            for path in (__fish_complete_directories $part)
                echo $key$path
            end
    end
    test (count $answer) -gt 1 && string join \n -- $answer[2..]
end

complete --command gradcli --no-files --keep-order --arguments '(__gradcli_completion)'
