"""The judge judged: answers that cheat and answers that are honest, run against our own evaluation.

`exploits.all_exploits()` are complete answers that would profit under a naive judge, by class of
attack (`attacks/`); `honest.all_honest()` are as many ordinary ones in the styles people write.
`triton-gym audit` runs both on a device and prints who got through.
"""
