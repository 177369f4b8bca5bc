# Runs the command line of these releases. They make a Sigstore signer, which wants the network, before they look at
# which method was asked for; it is kept from being made.
import sys

from model_signing._signing import sign_sigstore

sign_sigstore.Signer.__init__ = lambda self, **_: None

from model_signing._cli import main

sys.argv[0] = "model_signing"
sys.exit(main())
