"""What flows through the plant, as one vector of amounts: rare earths, ions, carbon, water, volume.

Kmol, but water in t and volume in m3. Everything but volume is conserved; volumes add up only by convention.
`OTHER` are the equivalents of foreign cations (Ca, Fe, Al …) that come with the carbonate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SPECIES = ("La", "Ce", "Pr", "Nd", "Cl", "Na", "N", "C", "other", "water", "volume")
LA, CE, PR, ND, CL, NA, N, C, OTHER, WATER, VOLUME = range(len(SPECIES))
RE = slice(LA, CL)
# What no unit may create or lose; water is conserved but for what reactions form, which is booked as an inlet.
CONSERVED = slice(LA, VOLUME)

# kg per kmol of element, of oxide per kmol of RE, and of the hydrated carbonate per kmol of RE.
ATOMIC = np.array([138.905, 140.116, 140.908, 144.242, 35.453, 22.990, 14.007, 12.011])
OXIDE = np.array([162.905, 172.115, 170.241, 168.242])
CARBONATE = np.array([301.0, 302.2, 303.0, 306.3])
WATER_OF_CRYSTAL = 4 * 0.018015  # t per kmol RE, of RE2(CO3)3·8H2O
H2O = 0.018015  # t/kmol
CO2 = 44.01
NACL, NH4CL, OTHER_CL = 58.44, 53.49, 55.49  # kg per kmol of chloride; OTHER as half CaCl2

# Net charge of dissolved cations less chloride: what base is there beyond the acid, kmol of equivalents.
CHARGE = np.array([3.0, 3.0, 3.0, 3.0, -1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0])


def vector(**amounts: float) -> Floats:
    """Make a vector from amounts by species; the rest is 0."""
    values = np.zeros(len(SPECIES))
    for name, amount in amounts.items():
        values[SPECIES.index(name)] = amount
    return values


# Per m3 of solution. Strengths are those by which the books turn the loops' volumes into kg (seeds/meters.toml);
# water is density less solute.
HCL_31 = vector(Cl=1154 * 0.31 / 36.461, water=1.154 * 0.69, volume=1.0)
SCRUB_ACID = vector(Cl=3.5, water=0.930, volume=1.0)
STRIP_ACID = vector(Cl=4.5, water=0.910, volume=1.0)
NAOH_30 = vector(Na=1328 * 0.30 / 39.997, water=1.328 * 0.70, volume=1.0)
NAOH_10 = vector(Na=1109 * 0.10 / 39.997, water=1.109 * 0.90, volume=1.0)
SODA_CE = vector(Na=2 * 2.862, C=2.862, water=0.97, volume=1.0)
SODA_LA = vector(Na=2 * 1.616, C=1.616, water=0.98, volume=1.0)
BICARBONATE = vector(N=2.65, C=2.65, water=0.88, volume=1.0)
PURE_WATER = vector(water=1.0, volume=1.0)


def excess_base(amounts: Floats) -> float:
    """Equivalents of base beyond acid, kmol, with all RE counted as dissolved chloride; negative: free acid."""
    return float(CHARGE @ amounts)


def oxide_kg(re: Floats) -> float:
    """Mass of RE as oxides."""
    return float(OXIDE @ re)
