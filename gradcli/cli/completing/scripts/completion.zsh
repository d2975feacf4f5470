#compdef gradcli
# Completion of gradcli for zsh; what it proposes comes from gradcli itself.

_gradcli() {
    local how line key=
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
    case $how in
        (none*)
            # -U takes the proposals as they are, for a word whose brackets would be a pattern.
            [[ $how == *' behind-key' ]] && key=${${(Q)PREFIX}%%=*}=
            _describe -V gradcli finished -U -P "$key" -- goes_on -U -P "$key" -S ''
            ;;
        (*)
            [[ $how == *' behind-key' ]] && compset -P 1 '*='
            if [[ $how == folders* ]]; then _files -/; else _files; fi
            ;;
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
