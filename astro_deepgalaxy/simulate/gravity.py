"""Self-gravity of particles: a Barnes-Hut tree with quadrupoles, walked for groups of neighbours.

Units are kpc, km/s, Msun and Myr throughout.
"""

import math

import numpy as np
from astropy import constants
from astropy import units as u
from numba import get_num_threads, njit, prange, set_num_threads

from .tree import DEPTH, plant

__all__ = ["KPC_PER_MYR", "G", "accelerations", "direct_accelerations"]

G = float(constants.G.to_value(u.kpc * (u.km / u.s) ** 2 / u.Msun))
"""Gravitational constant in kpc (km/s)^2 / Msun."""

KPC_PER_MYR = float((u.km / u.s).to(u.kpc / u.Myr))
"""How many kpc a speed of 1 km/s covers in 1 Myr."""

_FEW = 6  # particles of a node this small are summed one by one: cheaper than its moments
_PER_THREAD = 2000  # fewest particles that keep a thread busy
_CHUNKS = 128  # pieces of work shared among the threads
_CELL_LIST = 1024  # the lists are evaluated and emptied when full: they cannot overflow,
_PARTICLE_LIST = 2048  # and stay in the cache
# The walk puts at most 8 children on the stack at each level and takes one off.
_STACK = 8 * DEPTH


def accelerations(positions, masses, softening, opening=0.6):
    """Acceleration and potential of every particle, by a Barnes-Hut tree (Barnes & Hut 1986).

    A node of the tree acts through its monopole and quadrupole on a group of neighbouring
    particles if the sphere around its centre of mass that holds its particles has a radius
    smaller than `opening` times the distance to the group; otherwise its children are looked at.
    The moments are those of the Plummer-softened potential, so softening costs no accuracy.

    Particles on the same spot and particles far from all others are allowed. The result does not
    depend on the number of threads.

    Parameters
    ----------
    positions : array_like
        Positions in kpc, (n, 3).
    masses : array_like
        Masses in Msun, (n,), all positive.
    softening : float
        Plummer softening length in kpc, positive.
    opening : float
        Opening angle in (0, 1]. The default gives a median error of the acceleration well
        below 0.1 %.

    Returns
    -------
    acceleration : numpy.ndarray
        In km/s per Myr, (n, 3).
    potential : numpy.ndarray
        In (km/s)^2, (n,), without the particle's own (to the last digits of single precision).

    Raises
    ------
    ValueError
        If a shape is wrong, a number is not finite, or a mass, the softening or the opening
        angle is out of range.
    """
    positions, masses, softening = _checked(positions, masses, softening)
    if not 0 < opening <= 1:
        raise ValueError(f"opening must be in (0, 1]; got {opening}")
    # Dimensionless: lengths over the softening, masses over their sum. Nothing then leaves the
    # range of the single-precision kernels.
    total = masses.sum()
    x = positions / softening
    m = masses / total
    acceleration = np.zeros(x.shape)
    potential = np.zeros(m.shape)
    # Waking more threads than there is work for costs more than it saves.
    threads = get_num_threads()
    set_num_threads(min(threads, 1 + len(m) // _PER_THREAD))
    try:
        order, x, m, tree = plant(x, m)
        _walk(*tree, x, m, 1 / opening, acceleration, potential)
        potential += m
        scale = G * total / softening
        return _unsorted(order, acceleration, scale / softening * KPC_PER_MYR, potential, scale)
    finally:
        set_num_threads(threads)


def direct_accelerations(positions, masses, softening):
    """Acceleration and potential of every particle, by summation over all pairs.

    The exact answer that `accelerations` approximates; its cost grows with the square of the
    number of particles.

    Parameters
    ----------
    positions : array_like
        Positions in kpc, (n, 3).
    masses : array_like
        Masses in Msun, (n,), all positive.
    softening : float
        Plummer softening length in kpc, positive.

    Returns
    -------
    acceleration : numpy.ndarray
        In km/s per Myr, (n, 3).
    potential : numpy.ndarray
        In (km/s)^2, (n,), without the particle's own.

    Raises
    ------
    ValueError
        As `accelerations`.
    """
    positions, masses, softening = _checked(positions, masses, softening)
    acceleration, potential = _direct(positions, G * masses, softening**2)
    return acceleration * KPC_PER_MYR, potential


def _checked(positions, masses, softening):
    positions = np.ascontiguousarray(positions, dtype=float)
    masses = np.ascontiguousarray(masses, dtype=float)
    if positions.ndim != 2 or positions.shape[1] != 3 or len(positions) == 0:
        raise ValueError(f"positions must be (n, 3) with n > 0; got the shape {positions.shape}")
    if masses.shape != positions.shape[:1]:
        raise ValueError(
            f"masses must be ({len(positions)},), one per position; got the shape {masses.shape}"
        )
    if not np.isfinite(positions).all():
        raise ValueError("positions must be finite; some are NaN or infinite")
    if not (np.isfinite(masses).all() and (masses > 0).all()):
        raise ValueError("masses must be positive and finite; some are not")
    if not (softening > 0 and math.isfinite(softening)):
        raise ValueError(f"softening must be positive and finite; got {softening}")
    return positions, masses, float(softening)


@njit(cache=True, parallel=True, fastmath=True, error_model="numpy")
def _walk(
    groups, first, last, child, n_children, nodes, x, m, inverse_opening, acceleration, potential
):
    n_chunks = min(len(groups), _CHUNKS)
    for chunk in prange(n_chunks):
        cells = np.empty((11, _CELL_LIST), np.float32)
        particles = np.empty((4, _PARTICLE_LIST), np.float32)
        stack = np.empty(_STACK, np.int64)
        centre = np.empty(3)
        half = np.empty(3)
        for index in range(chunk, len(groups), n_chunks):
            begin, end = first[groups[index]], last[groups[index]]
            for axis in range(3):
                low = high = x[begin, axis]
                for p in range(begin + 1, end):
                    low = min(low, x[p, axis])
                    high = max(high, x[p, axis])
                centre[axis] = 0.5 * (low + high)
                half[axis] = 0.5 * (high - low)
            cx, cy, cz = centre
            hx, hy, hz = half
            n_cells = n_particles = 0
            stack[0] = 0
            depth = 1
            while depth > 0:
                depth -= 1
                k = stack[depth]
                p, stop = first[k], last[k]
                if stop - p > _FEW:
                    dx = nodes[k, 0] - cx
                    dy = nodes[k, 1] - cy
                    dz = nodes[k, 2] - cz
                    gx = max(abs(dx) - hx, 0.0)
                    gy = max(abs(dy) - hy, 0.0)
                    gz = max(abs(dz) - hz, 0.0)
                    reach = nodes[k, 11] * inverse_opening
                    if reach * reach < gx * gx + gy * gy + gz * gz:
                        if n_cells == _CELL_LIST:
                            _add_cells(
                                cells, n_cells, x, centre, begin, end, acceleration, potential
                            )
                            n_cells = 0
                        cells[0, n_cells] = dx
                        cells[1, n_cells] = dy
                        cells[2, n_cells] = dz
                        for column in range(3, 11):
                            cells[column, n_cells] = nodes[k, column]
                        n_cells += 1
                        continue
                    if n_children[k] > 0:
                        for q in range(child[k], child[k] + n_children[k]):
                            stack[depth] = q
                            depth += 1
                        continue
                while p < stop:
                    if n_particles == _PARTICLE_LIST:
                        _add_particles(
                            particles, n_particles, x, centre, begin, end, acceleration, potential
                        )
                        n_particles = 0
                    for _ in range(min(stop - p, _PARTICLE_LIST - n_particles)):
                        particles[0, n_particles] = x[p, 0] - cx
                        particles[1, n_particles] = x[p, 1] - cy
                        particles[2, n_particles] = x[p, 2] - cz
                        particles[3, n_particles] = m[p]
                        n_particles += 1
                        p += 1
            _add_cells(cells, n_cells, x, centre, begin, end, acceleration, potential)
            _add_particles(particles, n_particles, x, centre, begin, end, acceleration, potential)


@njit(cache=True, fastmath=True, error_model="numpy")
def _add_particles(particles, n, x, centre, begin, end, acceleration, potential):
    one = np.float32(1)
    for p in range(begin, end):
        px = np.float32(x[p, 0] - centre[0])
        py = np.float32(x[p, 1] - centre[1])
        pz = np.float32(x[p, 2] - centre[2])
        ax = ay = az = phi = np.float32(0)
        for j in range(n):
            dx = particles[0, j] - px
            dy = particles[1, j] - py
            dz = particles[2, j] - pz
            inverse = one / np.sqrt(dx * dx + dy * dy + dz * dz + one)
            pull = particles[3, j] * inverse
            phi -= pull
            pull *= inverse * inverse
            ax += pull * dx
            ay += pull * dy
            az += pull * dz
        acceleration[p, 0] += ax
        acceleration[p, 1] += ay
        acceleration[p, 2] += az
        potential[p] += phi


@njit(cache=True, fastmath=True, error_model="numpy")
def _add_cells(cells, n, x, centre, begin, end, acceleration, potential):
    """Monopole and second moments S of the Plummer potential, expanded around the cells' centres.

    With u^2 = d^2 + 1 and n = d / u:
    phi = -[M + (3 n.S.n - tr S) / (2 u^2)] / u
    a = [M n + ((15 n.S.n - 3 tr S) n / 2 - 3 S.n) / u^2] / u^2
    """
    one = np.float32(1)
    half = np.float32(0.5)
    three = np.float32(3)
    fifteen = np.float32(15)
    for p in range(begin, end):
        px = np.float32(x[p, 0] - centre[0])
        py = np.float32(x[p, 1] - centre[1])
        pz = np.float32(x[p, 2] - centre[2])
        ax = ay = az = phi = np.float32(0)
        for j in range(n):
            dx = cells[0, j] - px
            dy = cells[1, j] - py
            dz = cells[2, j] - pz
            inverse = one / np.sqrt(dx * dx + dy * dy + dz * dz + one)
            inverse2 = inverse * inverse
            nx = dx * inverse
            ny = dy * inverse
            nz = dz * inverse
            sx = cells[4, j] * nx + cells[5, j] * ny + cells[6, j] * nz
            sy = cells[5, j] * nx + cells[7, j] * ny + cells[8, j] * nz
            sz = cells[6, j] * nx + cells[8, j] * ny + cells[9, j] * nz
            nsn = nx * sx + ny * sy + nz * sz
            mass = cells[3, j]
            trace = cells[10, j]
            phi -= inverse * (mass + half * inverse2 * (three * nsn - trace))
            radial = mass + half * inverse2 * (fifteen * nsn - three * trace)
            sideways = three * inverse2
            ax += inverse2 * (radial * nx - sideways * sx)
            ay += inverse2 * (radial * ny - sideways * sy)
            az += inverse2 * (radial * nz - sideways * sz)
        acceleration[p, 0] += ax
        acceleration[p, 1] += ay
        acceleration[p, 2] += az
        potential[p] += phi


@njit(cache=True, parallel=True)
def _unsorted(order, acceleration, acceleration_unit, potential, potential_unit):
    """Accelerations and potentials in the caller's order and units."""
    a = np.empty_like(acceleration)
    phi = np.empty_like(potential)
    for p in prange(len(order)):
        for axis in range(3):
            a[order[p], axis] = acceleration[p, axis] * acceleration_unit
        phi[order[p]] = potential[p] * potential_unit
    return a, phi


@njit(cache=True, parallel=True)
def _direct(positions, strengths, softening2):
    n = len(positions)
    acceleration = np.empty((n, 3))
    potential = np.empty(n)
    for i in prange(n):
        ax = ay = az = phi = 0.0
        for j in range(n):
            if j != i:
                dx = positions[j, 0] - positions[i, 0]
                dy = positions[j, 1] - positions[i, 1]
                dz = positions[j, 2] - positions[i, 2]
                inverse = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz + softening2)
                pull = strengths[j] * inverse
                phi -= pull
                pull *= inverse * inverse
                ax += pull * dx
                ay += pull * dy
                az += pull * dz
        acceleration[i, 0] = ax
        acceleration[i, 1] = ay
        acceleration[i, 2] = az
        potential[i] = phi
    return acceleration, potential
