"""The card of a policy in Harbour, where gold values every reply and the right ones are known.

record            all sections together, and what each request is worth
drawing           the requests of a card, what was replied, and what that is worth
efficacy, generalisation, efficiency, interpretability, oversight, gaming
                  a research challenge each; `sidebyside` pairs two cards by their requests
order, proxy      whether better replies are preferred; a proxy that can be fooled
diagnostics       six ways to go wrong
"""
