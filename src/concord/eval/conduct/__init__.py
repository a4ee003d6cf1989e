"""How a model behaves towards people: by which principles, and where it fails them.

    honesty, truthfulness, calibration     does it say what it knows, and know what it says?
    refusal, toxicity, bias                does it keep from harm, without keeping from help?
    values, opinions                       what does it stand for, and whom does it resemble?
    stress                                 would it show if it had been made to behave badly?
    discretion, conflicts                  who decides where principles leave it open, or conflict?

Each module is a protocol: one part asks, another makes results of what was said.
"""
