# credmon's login hook for fish: sees whether all is well; anything else it leaves to /bin/sh and credmon.sh, which tells of the
# files, and of the settings. It runs no program when all is well.

function __credmon_well
    set -l login /var/lib/credmon/status/login
    set -l user $LOGNAME $USER
    set -l own $login/$user[1]
    # A FIFO would never end.
    test -f "$own" -a -r "$own" -a -f $login/.default; or return 1
    read --nchars 4096 --delimiter ' ' --local one state till pid <"$own"; or return 1
    builtin string match --quiet --regex '^1 ok \d{1,11} \d{1,11}$' "$one $state $till $pid"; or return 1
    # The moment at which /proc learnt of this shell stands for now. Before fish 3.6 credmond is relied upon to run.
    if test $till -ne 0; and builtin contains path (builtin --names)
        set -l now (builtin path mtime /proc/$fish_pid 2>/dev/null)
        test "$now" != ''; and test $now -ge (builtin math $till + 900); and return 1
    end
    read --nchars 4096 --delimiter ' ' --local one state till pid <$login/.default; or return 1
    builtin string match --quiet --regex '^1 [a-z]+ \d{1,11} \d{1,11}$' "$one $state $till $pid"; or return 1
    test $pid -eq 0 -o ! -d /proc/1 -o -d /proc/$pid
end

if status is-interactive; and status is-login; and not set --query CREDMON_HOOK_DONE
    if not __credmon_well; and test -r /etc/profile.d/credmon.sh
        # With the terminal to itself: Ctrl-C there would end the reading of all that comes after.
        set -l control interactive
        status is-full-job-control; and set control full
        status job-control full
        CREDMON_HOOK_FOR=interactive /bin/sh /etc/profile.d/credmon.sh
        status job-control $control
    end
    set --global --export CREDMON_HOOK_DONE 1
end
functions --erase __credmon_well
