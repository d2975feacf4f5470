# Completion of gradcli for fish; what it proposes comes from gradcli itself.

function __gradcli_completion
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l answer (_GRADCLI_COMPLETION=fish $before[1] $before "$current" 2> /dev/null < /dev/null)
    # Of a path: the key before it, and what is typed of it.
    switch "$answer[1]"
        case files
            string replace -r '^' -- "$answer[2]" (__fish_complete_path "$answer[3]")
            return
        case folders
            string replace -r '^' -- "$answer[2]" (__fish_complete_directories "$answer[3]")
            return
    end
    test (count $answer) -gt 1 && string join \n -- $answer[2..]
end

complete --command gradcli --no-files --keep-order --arguments '(__gradcli_completion)'
