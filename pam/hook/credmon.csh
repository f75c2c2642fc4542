# credmon's login hook for tcsh: sees whether all is well; anything else it leaves to /bin/sh and credmon.sh, which tells of the
# files, and of the settings. A csh has no command that reads a file: it forks for that, and runs no program when all is well.

if ( $?tcsh && $?loginsh && $?prompt && $?uid && ! $?CREDMON_HOOK_DONE ) then
  if ( $uid != 0 && $?LOGNAME ) then
    set __credmon_login = /var/lib/credmon/status/login
    set __credmon_well = 0
    # A FIFO would never end.
    if ( -f "$__credmon_login/$LOGNAME" && -r "$__credmon_login/$LOGNAME" && -f "$__credmon_login/.default" ) then
      # `1 ok UNTIL PID`, and the moment at which /proc learnt of this shell stands for now. What cannot be reckoned with is an
      # error of the fork, which ends it with 1.
      ( set noglob; set is = ( $< ); \
        exit ( "$is[1] $is[2]" != "1 ok" || $#is != 4 || ( $is[3] != 0 && -M /proc/$$ > $is[3] + 900 ) ) \
      ) < "$__credmon_login/$LOGNAME" >& /dev/null
      if ( $status == 0 ) then
        ( set noglob; set is = ( $< ); exit ( $#is != 4 || ( $is[4] != 0 && -d /proc/1 && ! -d "/proc/$is[4]" ) ) \
        ) < "$__credmon_login/.default" >& /dev/null
        if ( $status == 0 ) set __credmon_well = 1
      endif
    endif
    if ( ! $__credmon_well && -r /etc/profile.d/credmon.sh ) then
      setenv CREDMON_HOOK_FOR interactive
      /bin/sh /etc/profile.d/credmon.sh
      unsetenv CREDMON_HOOK_FOR
    endif
    setenv CREDMON_HOOK_DONE 1
    unset __credmon_login __credmon_well
  endif
endif
