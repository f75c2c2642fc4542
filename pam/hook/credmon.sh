# credmon's login hook: one line at a login when something is wrong with your credentials, and the command that mends it.
# Read by login shells (bash, dash, ksh, mksh, zsh in `emulate sh`) from /etc/profile.d; a program of its own for the csh and
# fish hooks, which leave to it whatever is more than to be silent.
#
# It reads what credmond keeps in /var/lib/credmon/status/login (src/daemon/login-files.ts has the format), and when all is
# well it runs no program at all. CREDMON_HOOK is `off`, `warn` or `login`: in the environment, else the first line of
# ~/.config/credmon/hook, else that of /etc/credmon/hook, whose second line may name another status folder; else `warn`.
#
# The shell that reads this may have any option set (-e, -u, -C, -f, another IFS) and any command aliased: so each is
# quoted, and nothing is left behind but CREDMON_HOOK_DONE.

__credmon_hook() {
  [ "${ZSH_VERSION-}" ] && \emulate -L sh 2>/dev/null
  # `interactive` where another shell, which is, has started this one.
  __credmon_for=${CREDMON_HOOK_FOR-}
  case $__credmon_for$- in *i*) ;; *) \return 0 ;; esac
  if [ "$__credmon_for" ]; then
    \unset CREDMON_HOOK_FOR
  elif [ "${BASH_VERSION-}" ]; then
    \shopt -q login_shell || \return 0
  elif [ "${ZSH_VERSION-}${KSH_VERSION-}" ]; then
    case $- in *l*) ;; *) \return 0 ;; esac
  fi
  [ -t 0 ] && [ -t 1 ] && [ -t 2 ] || \return 0
  # Panes, shells within shells, editors that ask for the environment, and terminals on which nobody reads.
  [ "${CREDMON_HOOK_DONE-}${TMUX-}${STY-}${ZELLIJ-}${SSH_ORIGINAL_COMMAND-}${INTELLIJ_ENVIRONMENT_READER-}" ] && \return 0
  [ "${VSCODE_RESOLVING_ENVIRONMENT-}${VSCODE_IPC_HOOK_CLI-}${VSCODE_INJECTION-}${VSCODE_AGENT_FOLDER-}${VSCODE_PID-}" ] && \return 0
  case ${TERM_PROGRAM-} in vscode) \return 0 ;; esac
  case ${TERM-} in '' | dumb) \return 0 ;; esac
  __credmon_user=${LOGNAME-${USER-}}
  case $__credmon_user in '' | root | .* | */*) \return 0 ;; esac
  # Root by another name; there are shells without a number for whoever they are.
  [ -O / ] && \return 0
  # Once a session, whatever comes of it.
  CREDMON_HOOK_DONE=1
  \export CREDMON_HOOK_DONE

  __credmon_dir=/var/lib/credmon/status
  __credmon_lines /etc/credmon/hook
  case $__credmon_2 in /*) __credmon_dir=$__credmon_2 ;; esac
  __credmon_mode=$__credmon_1
  if [ "${HOME-}" ]; then
    __credmon_lines "${XDG_CONFIG_HOME:-$HOME/.config}/credmon/hook"
    case $__credmon_1 in ?*) __credmon_mode=$__credmon_1 ;; esac
  fi
  case ${CREDMON_HOOK-} in ?*) __credmon_mode=$CREDMON_HOOK ;; esac
  case $__credmon_mode in off) \return 0 ;; esac

  # The pid in it is always that of the credmond that runs, or ran last. Where others' processes cannot be seen, nor can init.
  __credmon_lines "$__credmon_dir/login/.default"
  __credmon_first
  case $__credmon_pid in
    0) ;;
    *)
      if [ -d /proc/1 ] && [ ! -d "/proc/$__credmon_pid" ]; then
        __credmon_say 'credmond does not run on this machine: tokens are not kept fresh; its administrator should know'
        \return 0
      fi
      ;;
  esac
  # What is there and cannot be read is nothing that a person could mend.
  if [ -e "$__credmon_dir/login/$__credmon_user" ] || [ -h "$__credmon_dir/login/$__credmon_user" ]; then
    __credmon_lines "$__credmon_dir/login/$__credmon_user"
    __credmon_first
  fi
  case $__credmon_state in
    ok)
      [ "$__credmon_until" -eq 0 ] || __credmon_late
      \return 0
      ;;
    warn | login) ;;
    *) \return 0 ;;
  esac

  # credmond writes nothing else, and whoever does is not to write to the terminal.
  __credmon_safe="ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 !\"#\$%&'()*+,./:;<=>?@[]^_\`{|}~-"
  case $__credmon_2$__credmon_3 in
    '' | *\\* | *[!"$__credmon_safe"]*)
      __credmon_say 'something is wrong with your credentials; see: credmon status'
      \return 0
      ;;
  esac
  case $__credmon_3 in
    '') __credmon_say "$__credmon_2" ;;
    *) __credmon_say "$__credmon_2; run: $__credmon_3" ;;
  esac
  case $__credmon_state,$__credmon_mode in
    login,login) __credmon_login ;;
  esac
}

# The first three lines of a file into __credmon_1, _2 and _3: '' each where it is none, or has not so many.
__credmon_lines() {
  __credmon_1= __credmon_2= __credmon_3=
  # A FIFO would never end.
  [ -f "$1" ] && [ -r "$1" ] && [ ! -h "$1" ] || \return 0
  {
    IFS= \read -r __credmon_1 && IFS= \read -r __credmon_2 && IFS= \read -r __credmon_3
  } 2>/dev/null <"$1" || \:
}

# The words of __credmon_1 as credmond writes it; the state is '' where it is something else.
__credmon_first() {
  __credmon_state= __credmon_until=0 __credmon_pid=0
  case $__credmon_1 in '1 '*' '*' '*) ;; *) \return 0 ;; esac
  __credmon_1=${__credmon_1#1 }
  __credmon_state=${__credmon_1%% *}
  __credmon_1=${__credmon_1#* }
  __credmon_until=${__credmon_1%% *}
  __credmon_pid=${__credmon_1#* }
  # Numbers that every shell can reckon with.
  case $__credmon_until,$__credmon_pid in
    ,* | *, | *[!0123456789,]* | *,*,* | ????????????*,* | *,????????????*)
      __credmon_state= __credmon_until=0 __credmon_pid=0
      ;;
  esac
}

# Says so where credmond should have looked by now: it does every minute or so. Shells without a clock rely upon it.
__credmon_late() {
  if [ "$__credmon_for" ]; then
    __credmon_now=$(\date +%s)
  elif [ "${ZSH_VERSION-}" ]; then
    \zmodload zsh/datetime 2>/dev/null || \return 0
    __credmon_now=${EPOCHSECONDS-}
  else
    __credmon_now=${EPOCHSECONDS-${EPOCHREALTIME-}}
    __credmon_now=${__credmon_now%%[.,]*}
  fi
  case $__credmon_now in '' | *[!0123456789]*) \return 0 ;; esac
  [ "$__credmon_now" -lt $((__credmon_until + 900)) ] ||
    __credmon_say 'credmond has not looked at your credentials for a while; see: credmon status'
}

__credmon_say() {
  \echo "credmon: $1" >&2
}

# Starts the login screen with the words of __credmon_3, which are taken apart here and are nothing but arguments.
__credmon_login() {
  case $__credmon_3 in 'credmon login '?*) ;; *) \return 0 ;; esac
  \command -v credmon >/dev/null 2>&1 || \return 0
  __credmon_rest=${__credmon_3#credmon login }
  \set --
  while [ "$__credmon_rest" ]; do
    case $__credmon_rest in
      ' '*)
        __credmon_rest=${__credmon_rest#?}
        \continue
        ;;
      \'*\' | \'*\'' '*)
        __credmon_rest=${__credmon_rest#?}
        __credmon_word=${__credmon_rest%%\'*}
        __credmon_rest=${__credmon_rest#*\'}
        case $__credmon_rest in '' | ' '*) ;; *) \return 0 ;; esac
        ;;
      *)
        __credmon_word=${__credmon_rest%% *}
        __credmon_rest=${__credmon_rest#"$__credmon_word"}
        case $__credmon_word in *\'*) \return 0 ;; esac
        ;;
    esac
    # Those that credmond names; with another, a file could have it read any configuration.
    case $__credmon_word in --handle | --scope | --audience | --force | --) ;; -*) \return 0 ;; esac
    \set -- "$@" "$__credmon_word"
  done
  # Ctrl-C there is for it alone: what else this shell has to do at a login is still to be done.
  \trap \: INT
  \command credmon login "$@" || __credmon_say "not logged in; when you want to, run: $__credmon_3"
  \trap - INT
}

__credmon_hook || \:
\unset -f __credmon_hook __credmon_lines __credmon_first __credmon_late __credmon_say __credmon_login || \:
\unset __credmon_for __credmon_user __credmon_dir __credmon_mode __credmon_1 __credmon_2 __credmon_3 __credmon_state __credmon_until \
  __credmon_pid __credmon_now __credmon_safe __credmon_rest __credmon_word || \:
