"""Self-gravity of particles: a Barnes-Hut tree with quadrupoles, walked for groups of neighbours.

Units are kpc, km/s, Msun and Myr throughout.
"""

import math

import numpy as np
from astropy import constants
from astropy import units as u
from numba import get_num_threads, njit, prange, set_num_threads

__all__ = ["KPC_PER_MYR", "G", "accelerations", "direct_accelerations"]

G = float(constants.G.to_value(u.kpc * (u.km / u.s) ** 2 / u.Msun))
"""Gravitational constant in kpc (km/s)^2 / Msun."""

KPC_PER_MYR = float((u.km / u.s).to(u.kpc / u.Myr))
"""How many kpc a speed of 1 km/s covers in 1 Myr."""

_BITS = 21  # of each coordinate in a 63-bit Morton key: the depth of the tree
_LEAF = 16  # a node of at most this many particles is not divided
_GROUP = 128  # particles of a node of at most this size share one walk
_FEW = 6  # particles of a node this small are summed one by one: cheaper than its moments
_PER_THREAD = 2000  # fewest particles that keep a thread busy
_CHUNKS = 128  # pieces of work shared among the threads
_CELL_LIST = 1024  # the lists are evaluated and emptied when full: they cannot overflow,
_PARTICLE_LIST = 2048  # and stay in the cache
# The walk puts at most 8 children on the stack at each of _BITS levels and takes one off.
_STACK = 8 * _BITS


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
        In (km/s)^2, (n,), without the particle's own.

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
    centre, half_side = _bulk(positions)
    keys = _morton_keys(positions, centre - half_side, 2**_BITS / (2 * half_side))
    order = np.argsort(keys, kind="stable")
    x = ((positions - centre) / softening)[order]
    m = (masses / total)[order]
    first, last, child, n_children = _build_tree(keys[order])
    groups = _walk_groups(first, last, child, n_children)
    acceleration = np.zeros(x.shape)
    potential = np.zeros(m.shape)
    # Waking more threads than there is work for costs more than it saves.
    threads = get_num_threads()
    set_num_threads(min(threads, 1 + len(m) // _PER_THREAD))
    try:
        nodes = _moments(first, last, x, m)
        tree = (groups, first, last, child, n_children, nodes)
        _walk(*tree, x, m, 1 / opening, acceleration, potential)
    finally:
        set_num_threads(threads)
    potential += m
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    scale = G * total / softening
    return acceleration[back] * (scale / softening * KPC_PER_MYR), potential[back] * scale


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


def _bulk(positions):
    """Centre and half side of the cube the tree divides: the bulk, without far escapers.

    Particles outside are sorted into the cells at the rim. That costs no accuracy, because a
    node's moments and radius are measured from its particles, not from its cell.
    """
    centre = np.median(positions[:: 1 + len(positions) // 2048], axis=0)
    distance = np.abs(positions - centre).max(axis=1)
    usual = np.median(distance)
    half_side = min(distance.max(), 100 * usual) if usual > 0 else distance.max()
    return centre, half_side if half_side > 0 else 1.0


@njit(cache=True)
def _spread(cell):
    """The lowest 21 bits of `cell`, moved three apart."""
    v = np.uint64(cell)
    v = (v | (v << np.uint64(32))) & np.uint64(0x1F00000000FFFF)
    v = (v | (v << np.uint64(16))) & np.uint64(0x1F0000FF0000FF)
    v = (v | (v << np.uint64(8))) & np.uint64(0x100F00F00F00F00F)
    v = (v | (v << np.uint64(4))) & np.uint64(0x10C30C30C30C30C3)
    return (v | (v << np.uint64(2))) & np.uint64(0x1249249249249249)


@njit(cache=True)
def _morton_keys(positions, corner, cells_per_length):
    keys = np.empty(len(positions), np.uint64)
    top = float((1 << _BITS) - 1)
    for i in range(len(positions)):
        key = np.uint64(0)
        for axis in range(3):
            cell = (positions[i, axis] - corner[axis]) * cells_per_length
            key = (key << np.uint64(1)) | _spread(np.uint64(min(max(cell, 0.0), top)))
        keys[i] = key
    return keys


@njit(cache=True)
def _build_tree(keys):
    """Divide the sorted keys into nodes, breadth first.

    Levels at which all particles of a node fall into one octant are skipped, so that every
    divided node has at least two children and there are fewer than 2 n nodes.
    """
    n = len(keys)
    first = np.empty(2 * n, np.int64)
    last = np.empty(2 * n, np.int64)
    child = np.zeros(2 * n, np.int64)
    n_children = np.zeros(2 * n, np.int64)
    first[0] = 0
    last[0] = n
    n_nodes = 1
    node = 0
    while node < n_nodes:
        begin, end = first[node], last[node]
        differing = keys[begin] ^ keys[end - 1]
        if end - begin > _LEAF and differing != 0:
            level = 0
            while differing >> np.uint64(3 * (level + 1)) != 0:
                level += 1
            shift = np.uint64(3 * level)
            child[node] = n_nodes
            while begin < end:
                octant = keys[begin] >> shift
                low, high = begin + 1, end
                while low < high:
                    middle = (low + high) // 2
                    if keys[middle] >> shift > octant:
                        high = middle
                    else:
                        low = middle + 1
                first[n_nodes] = begin
                last[n_nodes] = low
                n_nodes += 1
                begin = low
            n_children[node] = n_nodes - child[node]
        node += 1
    return first[:n_nodes], last[:n_nodes], child[:n_nodes], n_children[:n_nodes]


@njit(cache=True, parallel=True)
def _moments(first, last, x, m):
    """Columns: centre of mass (3), mass, second moments xx xy xz yy yz zz, trace, radius."""
    nodes = np.empty((len(first), 12))
    for k in prange(len(first)):
        mass = cx = cy = cz = 0.0
        for p in range(first[k], last[k]):
            mass += m[p]
            cx += m[p] * x[p, 0]
            cy += m[p] * x[p, 1]
            cz += m[p] * x[p, 2]
        cx /= mass
        cy /= mass
        cz /= mass
        xx = xy = xz = yy = yz = zz = radius2 = 0.0
        for p in range(first[k], last[k]):
            dx = x[p, 0] - cx
            dy = x[p, 1] - cy
            dz = x[p, 2] - cz
            radius2 = max(radius2, dx * dx + dy * dy + dz * dz)
            xx += m[p] * dx * dx
            xy += m[p] * dx * dy
            xz += m[p] * dx * dz
            yy += m[p] * dy * dy
            yz += m[p] * dy * dz
            zz += m[p] * dz * dz
        node = nodes[k]
        node[0], node[1], node[2], node[3] = cx, cy, cz, mass
        node[4], node[5], node[6], node[7], node[8], node[9] = xx, xy, xz, yy, yz, zz
        node[10] = xx + yy + zz
        node[11] = math.sqrt(radius2)
    return nodes


@njit(cache=True)
def _walk_groups(first, last, child, n_children):
    """The largest nodes of at most `_GROUP` particles, and leaves."""
    groups = np.empty(len(first), np.int64)
    stack = np.empty(_STACK, np.int64)
    n_groups = 0
    stack[0] = 0
    depth = 1
    while depth > 0:
        depth -= 1
        k = stack[depth]
        if last[k] - first[k] <= _GROUP or n_children[k] == 0:
            groups[n_groups] = k
            n_groups += 1
        else:
            for q in range(child[k], child[k] + n_children[k]):
                stack[depth] = q
                depth += 1
    return groups[:n_groups]


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
