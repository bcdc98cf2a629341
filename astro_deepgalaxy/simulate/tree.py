"""An octree over particles, with the moments of its nodes."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit, prange

__all__ = ["DEPTH", "Tree", "plant"]

DEPTH = 21
"""Depth of the tree: the bits of each coordinate in a 63-bit Morton key."""

_LEAF = 16  # a node of at most this many particles is not divided
_GROUP = 256  # a node of at most this many is walked for as a whole


class Tree(NamedTuple):
    """Nodes of a tree, breadth first, over particles in Morton order.

    Attributes
    ----------
    groups : numpy.ndarray of int
        Nodes that together hold every particle once: the largest of at most 256 particles (or
        leaves of more, on the same spot).
    first, last : numpy.ndarray of int
        The particles of each node, ``first:last``.
    child, n_children : numpy.ndarray of int
        The nodes into which each node is divided, ``child:child + n_children``.
    moments : numpy.ndarray
        For each node: centre of mass (3), mass, second moments xx xy xz yy yz zz about it, their
        trace, and the radius about it that holds the particles; (node, 12).
    """

    groups: np.ndarray
    first: np.ndarray
    last: np.ndarray
    child: np.ndarray
    n_children: np.ndarray
    moments: np.ndarray


def plant(positions, masses):
    """Sort particles along a Morton curve and build the tree over them.

    Parameters
    ----------
    positions : numpy.ndarray
        In any unit, (n, 3).
    masses : numpy.ndarray
        In any unit, (n,).

    Returns
    -------
    order : numpy.ndarray of int
        Sorts the particles, (n,).
    positions, masses : numpy.ndarray
        The same, sorted.
    tree : Tree
        Over the sorted particles.
    """
    centre, half_side = _bulk(positions)
    keys = _morton_keys(positions, centre - half_side, 2**DEPTH / (2 * half_side))
    order = np.argsort(keys)
    nodes = _build_tree(keys[order])
    positions, masses = positions.take(order, axis=0), masses.take(order)
    moments = _moments(*nodes[:2], positions, masses)
    return order, positions, masses, Tree(_walk_groups(*nodes), *nodes, moments)


def _bulk(positions):
    """Centre and half side of the cube the tree divides: the bulk, without far escapers.

    Particles outside are sorted into the cells at the rim. That costs no accuracy, because a
    node's moments and radius are measured from its particles, not from its cell.
    """
    sample = positions[:: 1 + len(positions) // 2048]
    centre = np.median(sample, axis=0)
    usual = np.median(np.abs(sample - centre).max(axis=1))
    largest = _largest_offset(positions, centre)
    half_side = min(largest, 100 * usual) if usual > 0 else largest
    return centre, half_side if half_side > 0 else 1.0


@njit(cache=True)
def _largest_offset(positions, centre):
    largest = 0.0
    for i in range(len(positions)):
        for axis in range(3):
            largest = max(largest, abs(positions[i, axis] - centre[axis]))
    return largest


@njit(cache=True)
def _spread(cell):
    """The lowest 21 bits of `cell`, moved three apart."""
    v = np.uint64(cell)
    v = (v | (v << np.uint64(32))) & np.uint64(0x1F00000000FFFF)
    v = (v | (v << np.uint64(16))) & np.uint64(0x1F0000FF0000FF)
    v = (v | (v << np.uint64(8))) & np.uint64(0x100F00F00F00F00F)
    v = (v | (v << np.uint64(4))) & np.uint64(0x10C30C30C30C30C3)
    return (v | (v << np.uint64(2))) & np.uint64(0x1249249249249249)


@njit(cache=True, parallel=True)
def _morton_keys(positions, corner, cells_per_length):
    keys = np.empty(len(positions), np.uint64)
    top = float((1 << DEPTH) - 1)
    for i in prange(len(positions)):
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
    stack = np.empty(8 * DEPTH, np.int64)
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
