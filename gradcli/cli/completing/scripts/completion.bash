# Completion of gradcli for bash; what it proposes comes from gradcli itself.

_gradcli_completion() {
    local how reply
    COMPREPLY=()
    {
        read -r how
        while IFS= read -r reply; do
            COMPREPLY+=("$reply")
        done
    } < <(_GRADCLI_COMPLETION=bash "${1/#\~\//$HOME/}" "${COMP_LINE:0:COMP_POINT}" "$2" \
        "$COMP_TYPE" "${COLUMNS:-80}" 2> /dev/null < /dev/null)
    [[ $how == *' nospace' ]] && compopt -o nospace 2> /dev/null
    case $how in
        files*) compopt -o filenames 2> /dev/null && _gradcli_paths -f "$2" ;;
        folders*) compopt -o filenames 2> /dev/null && _gradcli_paths -d "$2" ;;
    esac
    return 0
}

_gradcli_paths() {
    local path
    while IFS= read -r path; do
        COMPREPLY+=("$path")
    done < <(compgen "$1" -- "$2")
}

complete -o nosort -F _gradcli_completion gradcli 2> /dev/null ||
    complete -F _gradcli_completion gradcli
