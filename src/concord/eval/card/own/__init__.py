"""The card of a real model: test sets, the user's own rows, and whoever scores or judges replies.

score                 all together
sets, rows            test sets by their shapes, and their cells as items
asked                 a set put to a policy: generated, chosen, compared
abilities, conduct    the protocols of what a model can do, and of how it behaves
replied, likelihoods  what is learned from rows: by replies, and by how likely given ones are
"""
