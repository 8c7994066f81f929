"""What every test needs: Ctrl-C reaches the programs that tests start, also where the tests run in the background."""

import signal

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # a shell gives this to what it starts with &, and it is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
