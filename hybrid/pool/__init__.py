"""Runs jobs. Knows nothing of HTTP.

     submit()  ->  Pool: AdmissionQueue, M slots, permits, deadlines     (pool.py)
                     |  one queue for all lanes
        ┌────────────┼──────────────┐
     InlineLane   ThreadLane   ProcessLane                      (inline, threads, processes)
                                    |  Link: one socket pair per pool process  (link.py)
     ===============================|=============================== process boundary
                                  member_main()                               (member.py)

`job.py` is what a user declares, `submit.py` what a user calls, `wire.py` the
frames both halves speak, `arguments.py` the one rule about arrays on all lanes.
"""
