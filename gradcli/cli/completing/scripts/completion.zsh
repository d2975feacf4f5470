#compdef gradcli
# Completion of gradcli for zsh; what it proposes comes from gradcli itself.

_gradcli() {
    local line how
    local -a finished goes_on
    {
        read -r how
        while IFS= read -r line; do
            case $line in
                ('='*) goes_on+=("${line[2,-1]}") ;;
                ('.'*) finished+=("${line[2,-1]}") ;;
            esac
        done
    } < <(_GRADCLI_COMPLETION=zsh "${words[1]/#\~\//$HOME/}" "${(@Q)words[1,CURRENT-1]}" \
        "${(Q)PREFIX}" 2> /dev/null < /dev/null)
    [[ $how == *' behind-key' ]] && compset -P 1 '*='
    case $how in
        (files*) _files ;;
        (folders*) _files -/ ;;
        (*) _describe -V 'gradcli' finished -U -- goes_on -U -S '' ;;
    esac
}

if (( ! $+functions[compdef] )); then
    autoload -Uz compinit && compinit
fi
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _gradcli "$@"
else
    compdef _gradcli gradcli
fi
