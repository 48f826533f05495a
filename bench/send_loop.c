/* The floor of a broadcast: one send() of the same frame for each socket, and nothing else.
 * Returns how many sockets took the whole frame. */
#include <stddef.h>
#include <sys/socket.h>

int send_to_all(const int *sockets, int count, const char *frame, size_t size)
{
    int taken = 0;
    for (int i = 0; i < count; i++)
        taken += send(sockets[i], frame, size, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)size;
    return taken;
}
