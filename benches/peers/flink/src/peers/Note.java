package peers;

import java.io.Serializable;

/** How a row is summed. */
@FunctionalInterface
public interface Note<T> extends Serializable {
    void note(Digest digest, T row);
}
