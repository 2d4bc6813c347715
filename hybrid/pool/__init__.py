"""Runs jobs. Knows nothing of HTTP.

     submit()  ->  Pool: may it enter, until when                        (pool.py)
                     |
                   Dispatcher: one line, M slots, permits, for all lanes  (dispatch.py)
                     |
        ┌────────────┼──────────────┐
     InlineLane   ThreadLane   ProcessLane                      (inline, threads, processes)
                                    |  Link: one socket pair per pool process  (link.py)
     ===============================|=============================== process boundary
                                  member_main()                               (member.py)

`job.py` is what a user declares, `submit.py` what a user calls, `wire.py` the
frames both halves speak, `arguments.py` the one rule about arrays on all lanes,
`resident.py` the arrays that all processes of a host share.
"""
