# Runs pieces of Python one after the other, so that the imports are paid for once. Each line of the input is a request in
# JSON: a piece of code, its arguments and the folder to run it in. Each line of the output is what came of one.
import contextlib
import io
import json
import os
import sys
import traceback


def run(request):
    out, err, code = io.StringIO(), io.StringIO(), 0
    os.chdir(request["dir"])
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            exec(request["code"], {"args": request["args"]})
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            code = 70
            traceback.print_exc()
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


for line in sys.stdin:
    # Standard output itself carries the answers; a name may hold anything, hence ASCII.
    print(json.dumps(run(json.loads(line))), flush=True)
