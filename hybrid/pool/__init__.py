"""Runs jobs. Knows nothing of HTTP.

     submit()  ->  Pool: may it enter, until when                        (pool.py)
                     |
                   Dispatcher: one line, M slots, permits, for all lanes  (dispatch.py)
                     |
        ┌────────────┼──────────────┐
     InlineLane   ThreadLane   ProcessLane             (lane.py, thread/, process/)
                                    |  ProcessLink: one socket pair per pool process
     ===============================|=============================== process boundary
                                  member_main()                      (process/member.py)

`job.py` is what a user declares, `submit.py` what a user calls, `running.py` what
happens around ``fn(*args)`` on every lane (with the one rule about arrays),
`process/pickling.py` the frames that both halves speak, `arena/` the shared memory.
"""
