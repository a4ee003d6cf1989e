"""What a gain costs, and where it ends.

tax               what the model could do before, and does worse since
divergence        how far it has gone from where it began
efficiency        how much data it took, and would take
generalisation    whether the gain holds where nothing was learned
oversight         how much of it a weak teacher can teach
gaming            whether what is optimised stays what is meant
asking            best of n by a proxy, drawn and valued
"""
